// The microphone, block by block.

import {Refused} from './refused.js';

// From file:// a worklet may come from a data: address alone.
const TAP = `registerProcessor('tap', class extends AudioWorkletProcessor {
  process([[channel]]) {
    if (channel) this.port.postMessage(channel.slice());
    return true;
  }
});`;
const PLAIN = {
  channelCount: 1,
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};
const REASONS = {
  NotAllowedError: 'microphone denied',
  NotFoundError: 'no microphone',
  NotReadableError: 'microphone busy',
};

/** Listen: `hear` gets blocks of mono samples and their rate; returns {rate, stop}, or is Refused. */
export async function microphone(hear) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Refused('insecure page');
  const stream = await navigator.mediaDevices.getUserMedia({audio: PLAIN}).catch((error) => {
    throw new Refused(REASONS[error.name] ?? 'failed', {reason: error.message});
  });
  const context = new AudioContext(); // of the device's rate: Firefox connects to no other
  await context.resume();
  await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(TAP)}`);
  const mono = {numberOfOutputs: 1, channelCount: 1, channelCountMode: 'explicit'};
  const tap = new AudioWorkletNode(context, 'tap', mono);
  tap.port.onmessage = ({data}) => hear(data, context.sampleRate);
  context.createMediaStreamSource(stream).connect(tap);
  tap.connect(context.destination); // it is silent; some browsers never run it otherwise
  const stop = async () => {
    tap.port.onmessage = null;
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
  };
  return {rate: context.sampleRate, stop};
}

/** Blocks end to end. */
export function joined(blocks) {
  const whole = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    whole.set(block, at);
    at += block.length;
  }
  return whole;
}

/** The level of a block in dB below full scale. */
export function level(block) {
  const power = block.reduce((sum, one) => sum + one * one, 0) / block.length;
  return 10 * Math.log10(power + 1e-10);
}
