// SPDX-License-Identifier: Apache-2.0
// model.js - an ONNX model as protobuf bytes: nodes, inputs, outputs and weights.
'use strict';

const FLOAT = 1, UINT8 = 2, INT8 = 3, INT32 = 6;

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

// AttributeProto: name 1, f 2, i 3, s 4, type 20 (1 float, 2 int, 3 string). -1 is ten bytes, as
// protobuf has it.
function attribute(name, value) {
  let kind;
  if (typeof value === 'string') kind = [text(4, value), number(20, 3)];
  else if (value === -1) {
    kind = [varint(3 << 3), Buffer.from('ffffffffffffffffff01', 'hex'), number(20, 2)];
  } else if (Number.isInteger(value)) kind = [number(3, value), number(20, 2)];
  else kind = [float(2, value), number(20, 1)];
  return bytes(5, Buffer.concat([text(1, name), ...kind]));
}

// NodeProto: input 1, output 2, op_type 4, attribute 5, domain 7. An input '' is absent.
function node(type, domain, inputs, outputs, attributes = {}) {
  return bytes(1, Buffer.concat([
    ...inputs.map((s) => text(1, s)),
    ...outputs.map((o) => text(2, o)),
    text(4, type),
    ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    text(7, domain),
  ]));
}

// ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; its elem_type 1, shape 2; dims: numbers,
// or names of what a call decides.
function valueInfo(field, name, type, dims) {
  const shape = dims.map((d) => bytes(1, typeof d === 'string' ? text(2, d) : number(1, d)));
  const tensor = Buffer.concat([number(1, type), bytes(2, Buffer.concat(shape))]);
  return bytes(field, Buffer.concat([text(1, name), bytes(2, bytes(1, tensor))]));
}

// TensorProto: dims 1, data_type 2, name 8, raw_data 9. values: Float32Array.
function weight(name, dims, values) {
  return bytes(5, Buffer.concat([
    ...dims.map((d) => number(1, d)),
    number(2, FLOAT),
    text(8, name),
    bytes(9, Buffer.from(values.buffer, values.byteOffset, values.byteLength)),
  ]));
}

// inputs and outputs: [name, type, dims].
function model(nodes, inputs, outputs, weights = []) {
  const graph = Buffer.concat([
    ...nodes,
    text(2, 'g'),
    ...weights,
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

module.exports = { model, node, weight, FLOAT, UINT8, INT8, INT32 };
