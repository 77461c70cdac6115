// SPDX-License-Identifier: Apache-2.0
// cache.js - keys and values as ONNX Runtime's GroupQueryAttention keeps them, [batch, heads, keys,
// dim] in f32, int8 or int4; random numbers for them; and attention of one row in doubles, which its
// results are compared with.
'use strict';

const { FLOAT, UINT8, INT8 } = require('./model.js');

const ROWS = 509; // different rows of random numbers in a cache

function random(n, seed) {
  const values = new Float32Array(n);
  let state = seed;
  for (let i = 0; i < n; i++) {
    state = (state * 48271) % 2147483647;
    values[i] = state / 1073741824 - 1;
  }
  return values;
}

// How a baseline of that name keeps them; numbers of up to `most` in size. An int4 is a nibble, 8 of
// which is 0, the lower one first.
function form(name, most) {
  if (name === 'ort-int8') {
    return { type: INT8, tensor: 'int8', bits: 8, scale: most / 127, array: Int8Array };
  }
  if (name === 'ort-int4') {
    return { type: UINT8, tensor: 'uint8', bits: 4, scale: most / 7, array: Uint8Array };
  }
  return { type: FLOAT, tensor: 'float32', bits: 32, scale: 0, array: Float32Array };
}

class Cache {
  constructor(kind, batch, heads, keys, dim, seed) {
    Object.assign(this, { kind, batch, heads, keys, dim });
    this.row = dim * kind.bits / (8 * kind.array.BYTES_PER_ELEMENT); // elements of the array
    this.dims = [batch, heads, keys, this.row];
    this.data = new kind.array(batch * heads * keys * this.row);
    const rows = random(ROWS * dim, seed);
    const codes = new kind.array(ROWS * this.row);
    for (let i = 0; i < rows.length; i++) {
      const code = kind.bits === 32 ? rows[i] : Math.round(rows[i] / kind.scale);
      if (kind.bits === 4) codes[i >> 1] |= code + 8 << 4 * (i & 1);
      else codes[i] = code;
    }
    for (let i = 0; i < batch * heads * keys; i++) {
      const from = i % ROWS * this.row;
      this.data.set(codes.subarray(from, from + this.row), i * this.row);
    }
  }

  get bytes() {
    return this.data.byteLength;
  }

  // Key or value j of a head, as numbers.
  at(batch, head, j) {
    const from = ((batch * this.heads + head) * this.keys + j) * this.row;
    const values = new Float64Array(this.dim);
    for (let i = 0; i < this.dim; i++) {
      if (this.kind.bits === 32) values[i] = this.data[from + i];
      else if (this.kind.bits === 8) values[i] = this.data[from + i] * this.kind.scale;
      else values[i] = ((this.data[from + (i >> 1)] >> 4 * (i & 1) & 15) - 8) * this.kind.scale;
    }
    return values;
  }

  copy() {
    return Object.assign(Object.create(Cache.prototype), this, { data: this.data.slice() });
  }
}

// One row: q over keys first .. last, which key(j) and value(j) give; sink: a logit, or null.
function attend(q, key, value, first, last, sink) {
  const scale = 1 / Math.sqrt(q.length);
  const scores = [];
  for (let j = first; j <= last; j++) {
    const k = key(j);
    let s = 0;
    for (let i = 0; i < q.length; i++) s += q[i] * k[i];
    scores.push(s * scale);
  }
  const most = scores.reduce((a, b) => Math.max(a, b), sink === null ? -Infinity : sink);
  let sum = sink === null ? 0 : Math.exp(sink - most);
  const out = new Float64Array(q.length);
  for (let j = first; j <= last; j++) {
    const p = Math.exp(scores[j - first] - most);
    const v = value(j);
    sum += p;
    for (let i = 0; i < q.length; i++) out[i] += p * v[i];
  }
  return out.map((x) => x / sum);
}

// Root mean square of differences in that of what is right; of lists of rows, [is, right] each.
function difference(pairs) {
  let wrong = 0;
  let all = 0;
  for (const [is, right] of pairs) {
    for (let i = 0; i < right.length; i++) {
      wrong += (is[i] - right[i]) ** 2;
      all += right[i] ** 2;
    }
  }
  return Math.sqrt(wrong / all);
}

// The error, if it is no more than the form explains: keys and values are compared as they are stored,
// so that what is left are sums in f32, and of integers the rounding of queries and probabilities to
// no fewer than 8 bits, and of new tokens to the form.
function checked(kind, pairs) {
  const error = difference(pairs);
  const most = kind.bits === 32 ? 1e-4 : kind.bits === 8 ? 0.05 : 0.1;
  if (!(error <= most)) {
    throw new Error('its results differ from those in doubles by ' + error.toPrecision(2) + ', not ' +
      most);
  }
  return error;
}

module.exports = { Cache, form, random, attend, checked };
