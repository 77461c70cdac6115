// SPDX-License-Identifier: Apache-2.0
// model.js - an ONNX model of one com.microsoft.GroupQueryAttention node, as protobuf bytes.
'use strict';

const FLOAT = 1, INT8 = 3, INT32 = 6;

function varint(n) {
  const bytes = [];
  for (; n > 127; n = Math.floor(n / 128)) bytes.push(n % 128 | 128);
  bytes.push(n);
  return Buffer.from(bytes);
}

// Fields of a protobuf message: numbers, strings, messages (buffers), floats.
const number = (field, n) => Buffer.concat([varint(field << 3), varint(n)]);
const bytes = (field, b) => Buffer.concat([varint(field << 3 | 2), varint(b.length), b]);
const text = (field, s) => bytes(field, Buffer.from(s));

function float(field, x) {
  const b = Buffer.alloc(4);
  b.writeFloatLE(x);
  return Buffer.concat([varint(field << 3 | 5), b]);
}

// AttributeProto: name 1, f 2, i 3, s 4, type 20 (1 float, 2 int, 3 string).
function attribute(name, value) {
  let kind;
  if (typeof value === 'string') kind = [text(4, value), number(20, 3)];
  else if (Number.isInteger(value)) kind = [number(3, value), number(20, 2)];
  else kind = [float(2, value), number(20, 1)];
  return bytes(5, Buffer.concat([text(1, name), ...kind]));
}

// ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; its elem_type 1, shape 2; dims.
function valueInfo(field, name, type, dims) {
  const shape = dims.map((d) => bytes(1, number(1, d)));
  const tensor = Buffer.concat([number(1, type), bytes(2, Buffer.concat(shape))]);
  return bytes(field, Buffer.concat([text(1, name), bytes(2, bytes(1, tensor))]));
}

// inputs and outputs: [name, type, dims]; the order of `slots` is that of the operator, '' = absent.
function model(slots, attributes, inputs, outputs) {
  const node = Buffer.concat([
    ...slots.map((s) => text(1, s)),
    ...outputs.map((o) => text(2, o[0])),
    text(3, 'gqa'),
    text(4, 'GroupQueryAttention'),
    ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    text(7, 'com.microsoft'),
  ]);
  const graph = Buffer.concat([
    bytes(1, node),
    text(2, 'g'),
    ...inputs.map((i) => valueInfo(11, ...i)),
    ...outputs.map((o) => valueInfo(12, ...o)),
  ]);
  return Buffer.concat([
    number(1, 8),
    bytes(7, graph),
    bytes(8, Buffer.concat([text(1, ''), number(2, 17)])),
    bytes(8, Buffer.concat([text(1, 'com.microsoft'), number(2, 1)])),
  ]);
}

module.exports = { model, FLOAT, INT8, INT32 };
