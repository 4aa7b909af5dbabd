// node use.mjs clip.wav
// Needs onnxruntime-web, and a WAV file of 16 bits and one channel. student.mjs runs in browsers too.
import {readFile} from 'node:fs/promises';
import * as ort from 'onnxruntime-web';
import {load, resample} from './student.mjs';

const student = await load(ort, await readFile(new URL('student.int8.onnx', import.meta.url)));
const {buffer} = Uint8Array.from(await readFile(process.argv[2])),
  rate = new DataView(buffer).getUint32(24, true);
const samples = Float32Array.from(new Int16Array(buffer, 44), (one) => one / 32768);
const {words} = await student.transcribe(resample(samples, rate, student.rate));
for (const {begin, end, text} of words) console.log(begin.toFixed(2), end.toFixed(2), text);
