// SPDX-License-Identifier: Apache-2.0
// serve.js - usage: node serve.js FOLDER THREADS NAME
// A baseline of gqa-bench: answers one timed case per line (bench/child.h) by ONNX Runtime. FOLDER
// holds node_modules/onnxruntime-node; NAME ort-int8 or ort-int4 keeps keys and values in that format.
'use strict';

const path = require('path');
const readline = require('readline');
const attention = require('./attention.js');
const layer = require('./layer.js');

const [folder, threads, name] = process.argv.slice(2);
const VISIT_MS = 10000;
const makers = { attention, pair: attention, mix: layer };
let ort;
let current = null; // { line, run, release, sets, caches, error }

function say(line) {
  process.stdout.write(line + '\n');
}

function parse(line) {
  const [kind, ...words] = line.split(' ');
  const spec = { kind, batch: 0, tokens: 0, past: 0, window: 0, chunk: 0, sinks: 0, cold: 0, shared: 0,
    home: 0, tensors: 0, mask: 0, apart: 0 };
  for (const word of words) {
    const [key, value] = word.split('=');
    spec[key] = Number(value);
  }
  return spec;
}

async function prepare(spec) {
  if (!makers[spec.kind]) throw new Error('no such case for ONNX Runtime');
  const one = await makers[spec.kind].prepare(ort, {
    intraOpNumThreads: Number(threads), interOpNumThreads: 1, executionMode: 'sequential',
    logSeverityLevel: 4,
  }, name, spec);
  const start = Date.now(); // every set is visited before the first timed call
  for (let i = 0; i < one.sets && Date.now() - start < VISIT_MS; i++) await one.run();
  return one;
}

// Seconds of one call.
async function time(one) {
  const start = process.hrtime.bigint();
  await one.run();
  return Number(process.hrtime.bigint() - start) * 1e-9;
}

async function drop() {
  if (current) await current.release();
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
    await current.run();
  }
  return 'ok ' + (await time(current)).toExponential(9) + ' caches=' + current.caches + ' error=' +
    current.error.toExponential(3);
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
