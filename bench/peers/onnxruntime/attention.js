// SPDX-License-Identifier: Apache-2.0
// attention.js - attention of one layer, or of the two of a pair, by GroupQueryAttention. Past and
// present share one buffer, so that a call appends in place. It has no ring and nothing that is shared:
// each sequence has all of its keys.
'use strict';

const { model, node, FLOAT, INT32 } = require('./model.js');
const { Cache, form, random, attend, checked } = require('./cache.js');

const COLD_BYTES = 1342177280;
const CHECKED_ROWS = 8;
const count = (dims) => dims.reduce((a, b) => a * b, 1);

// Attributes, and inputs beyond the seventh, of a cache's form and of sinks.
function extras(kind, spec, window) {
  const attributes = { num_heads: spec.hq, kv_num_heads: spec.hkv };
  const slots = [];
  const inputs = [];
  if (window > 0) attributes.local_window_size = window;
  if (spec.sinks) inputs.push(['head_sink', FLOAT, [spec.hq]]);
  if (kind.bits < 32) {
    inputs.push(['k_scale', FLOAT, [1]], ['v_scale', FLOAT, [1]]);
    Object.assign(attributes, { k_quant_type: 'PER_TENSOR', v_quant_type: 'PER_TENSOR',
      kv_cache_bit_width: kind.bits });
  }
  if (inputs.length > 0) slots.push('', '', spec.sinks ? 'head_sink' : '');
  if (kind.bits < 32) slots.push('k_scale', 'v_scale');
  return { attributes, slots, inputs };
}

const tensor = (ort, values, dims, type) => new ort.Tensor(type || 'float32', values, dims);

function extraFeeds(ort, kind, spec) {
  const feeds = {};
  if (spec.sinks) feeds.head_sink = tensor(ort, new Float32Array(spec.hq).fill(0.5), [spec.hq]);
  if (kind.bits < 32) {
    feeds.k_scale = tensor(ort, new Float32Array([kind.scale]), [1]);
    feeds.v_scale = tensor(ort, new Float32Array([kind.scale]), [1]);
  }
  return feeds;
}

// A cache as input and output.
function bind(ort, k, v, feeds, output) {
  const key = tensor(ort, k.data, k.dims, k.kind.tensor);
  const value = tensor(ort, v.data, v.dims, v.kind.tensor);
  return {
    feeds: { ...feeds, past_key: key, past_value: value },
    fetches: { output, present_key: key, present_value: value },
  };
}

// The layer with this window (0: none): its session and sets of data.
async function layer(ort, options, name, spec, window) {
  const { batch, tokens, past, hq, hkv, d } = spec;
  const total = past + tokens;
  const kind = form(name, 1);
  const k = new Cache(kind, batch, hkv, total, d, 3);
  const v = new Cache(kind, batch, hkv, total, d, 4);
  const extra = extras(kind, spec, window);
  const inputs = [
    ['query', FLOAT, [batch, tokens, hq * d]],
    ['key', FLOAT, [batch, tokens, hkv * d]],
    ['value', FLOAT, [batch, tokens, hkv * d]],
    ['past_key', kind.type, k.dims],
    ['past_value', kind.type, k.dims],
    ['seqlens_k', INT32, [batch]],
    ['total_sequence_length', INT32, []],
  ];
  const outputs = [
    ['output', FLOAT, [batch, tokens, hq * d]],
    ['present_key', kind.type, k.dims],
    ['present_value', kind.type, k.dims],
  ];
  // Inputs 7 and 8 are tables of rope, 9 positions, 10 a bias, 11 the sinks, 12 and 13 scales.
  const slots = [...inputs.map((i) => i[0])];
  if (extra.slots.length > 0) slots.push('', '', ...extra.slots);
  const bytes = model([node('GroupQueryAttention', 'com.microsoft', slots, outputs.map((o) => o[0]),
    extra.attributes)], [...inputs, ...extra.inputs], outputs);
  const session = await ort.InferenceSession.create(bytes, options);
  const feeds = extraFeeds(ort, kind, spec);
  for (let i = 0; i < 3; i++) {
    feeds[inputs[i][0]] = tensor(ort, random(count(inputs[i][2]), 5 + i), inputs[i][2]);
  }
  feeds.seqlens_k = tensor(ort, new Int32Array(batch).fill(total - 1), [batch], 'int32');
  feeds.total_sequence_length = tensor(ort, new Int32Array([total]), [], 'int32');
  const output = tensor(ort, new Float32Array(count(outputs[0][2])), outputs[0][2]);
  const n = spec.cold && past > 0 && spec.kind === 'attention'
    ? 1 + Math.floor(COLD_BYTES / (2 * k.bytes)) : 1;
  const sets = [bind(ort, k, v, feeds, output)];
  for (let i = 1; i < n; i++) sets.push(bind(ort, k.copy(), v.copy(), feeds, output));
  return { session, sets, kind, k, v, output, window, at: 0, query: feeds.query.data };
}

async function call(one) {
  const set = one.sets[one.at];
  one.at = (one.at + 1) % one.sets.length;
  await one.session.run(set.feeds, set.fetches);
}

// Some rows of the first set's last call.
function compare(spec, one) {
  const { batch, tokens, past, hq, hkv, d } = spec;
  const pairs = [];
  for (let i = 0; i < CHECKED_ROWS; i++) {
    const b = i % batch;
    const t = i * 7 % tokens;
    const h = i * 5 % hq;
    const head = Math.floor(h / (hq / hkv));
    const from = ((b * tokens + t) * hq + h) * d;
    const last = past + t;
    const first = one.window > 0 ? Math.max(0, last - one.window + 1) : 0;
    const right = attend(one.query.subarray(from, from + d), (j) => one.k.at(b, head, j),
      (j) => one.v.at(b, head, j), first, last, spec.sinks ? 0.5 : null);
    pairs.push([one.output.data.subarray(from, from + d), right]);
  }
  return checked(one.kind, pairs);
}

async function prepare(ort, options, name, spec) {
  if (spec.chunk > 0) throw new Error('no attention chunks in ONNX Runtime');
  if (spec.mask > 0) throw new Error('no masks in its GroupQueryAttention');
  if (spec.home > 0 && !(spec.home === 2 && !spec.tensors)) {
    throw new Error('its keys lie head by head, in f32');
  }
  const pair = spec.kind === 'pair';
  const layers = [await layer(ort, options, name, spec, spec.window)];
  if (pair) layers.push(await layer(ort, options, name, spec, 0));
  let error = 0;
  for (const one of layers) {
    await call(one);
    error = Math.max(error, compare(spec, one));
  }
  return {
    sets: layers[0].sets.length,
    caches: pair ? layers.reduce((sum, one) => sum + 2 * one.k.bytes, 0) : 0,
    error,
    run: async () => {
      for (const one of layers) await call(one);
    },
    release: async () => {
      for (const one of layers) await one.session.release();
    },
  };
}

module.exports = { prepare, extras, extraFeeds, bind, tensor };
