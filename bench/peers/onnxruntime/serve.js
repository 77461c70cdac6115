// SPDX-License-Identifier: Apache-2.0
// serve.js - usage: node serve.js FOLDER THREADS NAME
// A baseline of gqa-bench: answers one timed case per line (bench/child.h) by ONNX Runtime's
// GroupQueryAttention. FOLDER holds node_modules/onnxruntime-node; NAME ort-int8 keeps keys and
// values in int8. Past and present share one buffer, so that a call appends in place.
'use strict';

const path = require('path');
const readline = require('readline');
const { model, FLOAT, INT8, INT32 } = require('./model.js');

const [folder, threads, name] = process.argv.slice(2);
const COLD_BYTES = 1342177280;
const VISIT_MS = 10000;
let ort;
let current = null; // { line, session, sets, at }

function say(line) {
  process.stdout.write(line + '\n');
}

function parse(line) {
  const [kind, ...words] = line.split(' ');
  const spec = { kind, batch: 0, tokens: 0, past: 0, window: 0, chunk: 0, sinks: 0, cold: 0 };
  for (const word of words) {
    const [key, value] = word.split('=');
    spec[key] = Number(value);
  }
  return spec;
}

function random(n) {
  const values = new Float32Array(n);
  let state = 1;
  for (let i = 0; i < n; i++) {
    state = (state * 48271) % 2147483647;
    values[i] = state / 1073741824 - 1;
  }
  return values;
}

function randomInt8(n) {
  const values = new Int8Array(n);
  let state = 1;
  for (let i = 0; i < n; i++) {
    state = (state * 48271) % 2147483647;
    values[i] = state % 255 - 127;
  }
  return values;
}

// One more than what fits the caches, of [batch, hkv, past + tokens, d] each.
function countSets(spec, bytes) {
  return spec.cold && spec.past > 0 ? 1 + Math.floor(COLD_BYTES / bytes) : 1;
}

async function prepare(spec) {
  if (spec.kind !== 'attention') throw new Error('no such case for ONNX Runtime');
  if (spec.chunk > 0) throw new Error('no attention chunks in ONNX Runtime');
  const int8 = name === 'ort-int8';
  const { batch, tokens, past, hq, hkv, d } = spec;
  const total = past + tokens;
  const cacheType = int8 ? INT8 : FLOAT;
  const cacheDims = [batch, hkv, total, d];
  const inputs = [
    ['query', FLOAT, [batch, tokens, hq * d]],
    ['key', FLOAT, [batch, tokens, hkv * d]],
    ['value', FLOAT, [batch, tokens, hkv * d]],
    ['past_key', cacheType, cacheDims],
    ['past_value', cacheType, cacheDims],
    ['seqlens_k', INT32, [batch]],
    ['total_sequence_length', INT32, []],
  ];
  const outputs = [
    ['output', FLOAT, [batch, tokens, hq * d]],
    ['present_key', cacheType, cacheDims],
    ['present_value', cacheType, cacheDims],
  ];
  const slots = inputs.map((i) => i[0]);
  const attributes = { num_heads: hq, kv_num_heads: hkv };
  if (spec.window > 0) attributes.local_window_size = spec.window;
  if (spec.sinks || int8) slots.push('', '', '', '', spec.sinks ? 'head_sink' : '');
  if (spec.sinks) inputs.push(['head_sink', FLOAT, [hq]]);
  if (int8) {
    slots.push('k_scale', 'v_scale');
    inputs.push(['k_scale', FLOAT, [1]], ['v_scale', FLOAT, [1]]);
    Object.assign(attributes,
      { k_quant_type: 'PER_TENSOR', v_quant_type: 'PER_TENSOR', kv_cache_bit_width: 8 });
  }
  const count = (dims) => dims.reduce((a, b) => a * b, 1);
  const cacheCount = count(cacheDims);
  const session = await ort.InferenceSession.create(model(slots, attributes, inputs, outputs), {
    intraOpNumThreads: Number(threads), interOpNumThreads: 1, executionMode: 'sequential',
    logSeverityLevel: 4,
  });
  const tensor = (values, dims, type) => new ort.Tensor(type || 'float32', values, dims);
  const content = int8 ? randomInt8(cacheCount) : random(cacheCount);
  const cache = () => tensor(content.slice(), cacheDims, int8 ? 'int8' : 'float32');
  const shared = {
    query: tensor(random(count(inputs[0][2])), inputs[0][2]),
    key: tensor(random(count(inputs[1][2])), inputs[1][2]),
    value: tensor(random(count(inputs[2][2])), inputs[2][2]),
    seqlens_k: tensor(new Int32Array(batch).fill(total - 1), [batch], 'int32'),
    total_sequence_length: tensor(new Int32Array([total]), [], 'int32'),
  };
  if (spec.sinks) shared.head_sink = tensor(new Float32Array(hq).fill(0.5), [hq]);
  if (int8) {
    shared.k_scale = tensor(new Float32Array([1 / 127]), [1]);
    shared.v_scale = tensor(new Float32Array([1 / 127]), [1]);
  }
  const output = tensor(new Float32Array(count(outputs[0][2])), outputs[0][2]);
  const sets = [];
  const n = countSets(spec, 2 * cacheCount * (int8 ? 1 : 4));
  for (let i = 0; i < n; i++) {
    const k = cache();
    const v = cache();
    sets.push({
      feeds: { ...shared, past_key: k, past_value: v },
      fetches: { output, present_key: k, present_value: v },
    });
  }
  const one = { session, sets, at: 0 };
  const start = Date.now(); // every set is visited before the first timed call
  for (let i = 0; i < n && Date.now() - start < VISIT_MS; i++) await run(one);
  return one;
}

// Seconds of one call.
async function run(one) {
  const set = one.sets[one.at];
  one.at = (one.at + 1) % one.sets.length;
  const start = process.hrtime.bigint();
  await one.session.run(set.feeds, set.fetches);
  return Number(process.hrtime.bigint() - start) * 1e-9;
}

async function drop() {
  if (current) await current.session.release();
  current = null;
  if (global.gc) global.gc();
}

async function answer(line) {
  if (line === 'drop') {
    await drop();
    return 'ok 0';
  }
  if (!current || current.line !== line) {
    await drop();
    current = { line, ...await prepare(parse(line)) };
    await run(current);
  }
  return 'ok ' + (await run(current)).toExponential(9);
}

async function main() {
  try {
    const at = path.join(path.resolve(folder), 'node_modules', 'onnxruntime-node');
    ort = require(at);
    say('ready ONNX Runtime ' + require(path.join(at, 'package.json')).version);
  } catch (error) {
    say('skip onnxruntime-node is not installed: bench/peers/onnxruntime/install');
    return;
  }
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      say(await answer(line));
    } catch (error) {
      current = null;
      say('skip ' + String(error.message).split('\n')[0].slice(0, 200));
    }
  }
}

main();
