// SPDX-License-Identifier: Apache-2.0
// layer.js - a layer on pieces of prompts and decodes of many sequences by ONNX Runtime: norm,
// projections in f32, GroupQueryAttention with rope, residual, as one model. Sequences with one token
// are one call; one with more is a call of its own, as the operator wants it behind other tokens.
'use strict';

const { model, node, weight, FLOAT, INT32 } = require('./model.js');
const { Cache, form, random, attend, checked } = require('./cache.js');
const { extras, extraFeeds, bind, tensor } = require('./attention.js');

const EPSILON = 1e-5;

// As bench/spec.c says.
const tokensOf = (spec, s) => (s % 8 === 0 ? spec.tokens : 1);
const pastOf = (spec, s) => Math.floor(spec.past * (s % 5 + 1) / 5);

// Tables [positions][d / 2] of yarn: theta 150000, factor 32 over 4096 positions.
function makeRope(d, positions) {
  const half = d / 2;
  const turns = (beta) => d * Math.log(4096 / (beta * 2 * Math.PI)) / (2 * Math.log(150000));
  const low = Math.max(Math.floor(turns(32)), 0);
  const high = Math.min(Math.ceil(turns(1)), d - 1);
  const magnitude = 0.1 * Math.log(32) + 1;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let i = 0; i < half; i++) {
    const plain = 150000 ** (-2 * i / d);
    const keep = 1 - Math.min(Math.max((i - low) / Math.max(high - low, 0.001), 0), 1);
    const frequency = plain / 32 * (1 - keep) + plain * keep;
    for (let p = 0; p < positions; p++) {
      cos[p * half + i] = Math.cos(p * frequency) * magnitude;
      sin[p * half + i] = Math.sin(p * frequency) * magnitude;
    }
  }
  return { cos, sin, half };
}

const scaled = (values, scale) => values.map((x) => x * scale);

function makeWeights(spec, rows, wide) {
  const { hidden } = spec;
  return {
    norm: scaled(random(hidden, 11), 0.5),
    wqkv: scaled(random(hidden * rows, 12), 0.03), // [hidden][rows]
    bqkv: scaled(random(rows, 13), 0.5),
    wo: scaled(random(wide * hidden, 14), 0.03), // [wide][hidden]
    bo: scaled(random(hidden, 15), 0.5),
  };
}

function makeModel(spec, kind, w, rope, rows, wide) {
  const { hidden, hkv } = spec;
  const extra = extras(kind, spec, 0);
  const row = spec.d * kind.bits / (kind.bits === 32 ? 32 : 8);
  const cache = ['B', hkv, 'P', row];
  const slots = ['qkv', '', '', 'past_key', 'past_value', 'seqlens_k', 'total_sequence_length', 'cos',
    'sin', ...extra.slots];
  const nodes = [
    node('SimplifiedLayerNormalization', '', ['x', 'norm'], ['n'], { axis: -1, epsilon: EPSILON }),
    node('MatMul', '', ['n', 'wqkv'], ['m']),
    node('Add', '', ['m', 'bqkv'], ['qkv']),
    node('GroupQueryAttention', 'com.microsoft', slots, ['a', 'present_key', 'present_value'],
      { ...extra.attributes, do_rotary: 1 }),
    node('MatMul', '', ['a', 'wo'], ['y']),
    node('Add', '', ['y', 'bo'], ['z']),
    node('Add', '', ['z', 'x'], ['output']),
  ];
  return model(nodes, [
    ['x', FLOAT, ['B', 'T', hidden]],
    ['past_key', kind.type, cache],
    ['past_value', kind.type, cache],
    ['seqlens_k', INT32, ['B']],
    ['total_sequence_length', INT32, []],
    ...extra.inputs,
  ], [
    ['output', FLOAT, ['B', 'T', hidden]],
    ['present_key', kind.type, cache],
    ['present_value', kind.type, cache],
  ], [
    weight('norm', [hidden], w.norm),
    weight('wqkv', [hidden, rows], w.wqkv),
    weight('bqkv', [rows], w.bqkv),
    weight('wo', [wide, hidden], w.wo),
    weight('bo', [hidden], w.bo),
    weight('cos', [rope.cos.length / rope.half, rope.half], rope.cos),
    weight('sin', [rope.sin.length / rope.half, rope.half], rope.sin),
  ]);
}

// A call of the sequences, with `tokens` each: their data.
function makeCall(ort, spec, kind, sequences, tokens) {
  const { hidden, hkv, d } = spec;
  const batch = sequences.length;
  const pasts = sequences.map((s) => pastOf(spec, s));
  const most = Math.max(...pasts) + tokens;
  const k = new Cache(kind, batch, hkv, most, d, 3);
  const v = new Cache(kind, batch, hkv, most, d, 4);
  const x = random(batch * tokens * hidden, 5 + sequences[0]);
  const output = tensor(ort, new Float32Array(x.length), [batch, tokens, hidden]);
  const feeds = {
    x: tensor(ort, x, [batch, tokens, hidden]),
    seqlens_k: tensor(ort, Int32Array.from(pasts.map((p) => p + tokens - 1)), [batch], 'int32'),
    total_sequence_length: tensor(ort, new Int32Array([most]), [], 'int32'),
    ...extraFeeds(ort, kind, spec),
  };
  return { ...bind(ort, k, v, feeds, output), k, v, x, output, tokens, pasts };
}

// y [columns] = x [rows] w [rows][columns] + bias, in doubles.
function project(x, w, bias) {
  const y = Float64Array.from(bias);
  for (let i = 0; i < x.length; i++) {
    const xi = x[i];
    for (let j = 0; j < y.length; j++) y[j] += xi * w[i * y.length + j];
  }
  return y;
}

function turn(x, rope, position) {
  const y = new Float64Array(x.length);
  for (let i = 0; i < rope.half; i++) {
    const c = rope.cos[position * rope.half + i];
    const s = rope.sin[position * rope.half + i];
    y[i] = x[i] * c - x[i + rope.half] * s;
    y[i + rope.half] = x[i + rope.half] * c + x[i] * s;
  }
  return y;
}

// The first token of entry b of a call, [what attention added, what it should].
function firstToken(spec, one, b, w, rope) {
  const { hq, hkv, d, hidden } = spec;
  const from = b * one.tokens * hidden;
  const x = one.x.subarray(from, from + hidden);
  const size = Math.sqrt(x.reduce((sum, e) => sum + e * e, 0) / hidden + EPSILON);
  const qkv = project(x.map((e, i) => e / size * w.norm[i]), w.wqkv, w.bqkv);
  const past = one.pasts[b];
  const all = new Float64Array(hq * d);
  for (let h = 0; h < hq; h++) {
    const head = Math.floor(h / (hq / hkv));
    const own = (first) => qkv.subarray((first + head) * d, (first + head + 1) * d);
    const newKey = turn(own(hq), rope, past);
    all.set(attend(turn(qkv.subarray(h * d, (h + 1) * d), rope, past),
      (j) => (j === past ? newKey : one.k.at(b, head, j)),
      (j) => (j === past ? own(hq + hkv) : one.v.at(b, head, j)), 0, past,
      spec.sinks ? 0.5 : null), h * d);
  }
  const before = (i) => x[i] + w.bo[i];
  return [Float64Array.from(one.output.data.subarray(from, from + hidden)).map((e, i) => e - before(i)),
    project(all, w.wo, new Float64Array(hidden))];
}

async function prepare(ort, options, name, spec) {
  const { hq, hkv, d } = spec;
  const rows = (hq + 2 * hkv) * d;
  const kind = form(name, 1);
  const rope = makeRope(d, spec.past + spec.tokens);
  const w = makeWeights(spec, rows, hq * d);
  const session = await ort.InferenceSession.create(makeModel(spec, kind, w, rope, rows, hq * d),
    options);
  const all = Array.from({ length: spec.batch }, (_, s) => s);
  const single = all.filter((s) => tokensOf(spec, s) === 1);
  const calls = all.filter((s) => tokensOf(spec, s) > 1)
    .map((s) => makeCall(ort, spec, kind, [s], tokensOf(spec, s)));
  if (single.length > 0) calls.push(makeCall(ort, spec, kind, single, 1));
  const run = async () => {
    for (const one of calls) await session.run(one.feeds, one.fetches);
  };
  await run();
  const ends = [calls[0], calls[calls.length - 1]];
  const error = checked(kind, ends.map((one) => firstToken(spec, one, one.pasts.length - 1, w, rope)));
  return { sets: 1, caches: 0, error, run, release: () => session.release() };
}

module.exports = { prepare };
