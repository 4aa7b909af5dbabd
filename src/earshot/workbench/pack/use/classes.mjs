// node use.mjs clip.wav
// Needs onnxruntime-web, and a WAV file of 16 bits and one channel. student.mjs runs in browsers too.
import {readFile} from 'node:fs/promises';
import * as ort from 'onnxruntime-web';
import {load, resample} from './student.mjs';

const student = await load(ort, await readFile(new URL('student.int8.onnx', import.meta.url)));
const {buffer} = Uint8Array.from(await readFile(process.argv[2])),
  rate = new DataView(buffer).getUint32(24, true);
const samples = Float32Array.from(new Int16Array(buffer, 44), (one) => one / 32768);
const found = await student.classify(resample(samples, rate, student.rate));
found.labels.forEach((label, place) => console.log(found.pooled[place].toFixed(6), label));
