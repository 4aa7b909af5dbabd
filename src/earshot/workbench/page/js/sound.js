// Samples: what of them is usable, where the sound is, and another rate. As earshot.features.audio.

const EDGE = 0.05; // seconds at either end in which filters and codecs ring
const STEP = 0.01; // seconds whose loudness is one
const MARGIN = 0.1; // seconds left around the sound when silence is cut off
const QUIET = 10; // steps that must be quiet for a cut
const SILENCE = 1e-4; // of the loudest step's power: 40 dB below

/** Why samples are unusable: 'too short', 'non-finite' or 'silent'; else null. */
export function check(samples, rate, {min_seconds, min_rms}) {
  if (samples.length < Math.max(1, min_seconds * rate)) return 'too short';
  if (!Number.isFinite(samples.reduce((sum, one) => sum + one, 0))) return 'non-finite';
  const edge = Math.min(Math.trunc(EDGE * rate), Math.floor(samples.length / 4));
  const inner = samples.subarray(edge, samples.length - edge);
  const mean = inner.reduce((sum, one) => sum + one, 0) / inner.length;
  const power = inner.reduce((sum, one) => sum + (one - mean) ** 2, 0) / inner.length;
  return Math.sqrt(power) < min_rms ? 'silent' : null;
}

/** Where the sound begins and where it ends, with a tenth of a second around it. */
export function audible(samples, rate) {
  const size = Math.max(1, Math.round(STEP * rate));
  const power = powers(samples, size);
  const limit = power.reduce((top, one) => Math.max(top, one), 0) * SILENCE;
  const first = power.findIndex((one) => one > limit);
  if (first < 0) return [0, samples.length];
  const last = power.findLastIndex((one) => one > limit),
    margin = Math.round(MARGIN * rate);
  const end = Math.min(samples.length, (last + 1) * size + margin);
  return [Math.max(0, first * size - margin), end];
}

/** The middle of the quietest tenth of a second; of less than that the middle of all. */
export function quietest(samples, rate) {
  const size = Math.max(1, Math.round(STEP * rate)),
    steps = Math.floor(samples.length / size);
  if (steps < QUIET) return Math.floor(samples.length / 2);
  const power = powers(samples.subarray(0, steps * size), size);
  let best = 0,
    least = Infinity;
  for (let first = 0; first + QUIET <= steps; first++) {
    let sum = 0;
    for (let step = first; step < first + QUIET; step++) sum += power[step];
    if (sum < least) [best, least] = [first, sum];
  }
  return Math.floor(((2 * best + QUIET) * size) / 2);
}

/** The mean power of each `size` samples; zeros fill the last. */
function powers(samples, size) {
  const power = new Float64Array(Math.ceil(samples.length / size));
  for (let place = 0; place < samples.length; place++) {
    power[Math.floor(place / size)] += samples[place] ** 2;
  }
  return power.map((one) => one / size);
}

const ZEROS = 90; // of the kernel on either side
const PHASES = 1024; // of the kernel between two samples, then straight lines
const PASS = 0.957; // of the lower Nyquist frequency: half way between what stays and what goes
const BETA = 12.3; // of Kaiser's window: −120 dB

/** Samples at another rate: a windowed sinc that keeps what soxr's HQ keeps, 91% of the band. */
export function resample(samples, from, to) {
  if (from === to) return samples;
  const cut = PASS * Math.min(1, to / from),
    reach = ZEROS / Math.min(1, to / from);
  const kernel = kernelOf(cut, reach),
    out = new Float32Array(Math.round((samples.length * to) / from));
  for (let place = 0; place < out.length; place++) {
    const centre = (place * from) / to;
    const first = Math.max(0, Math.ceil(centre - reach));
    const last = Math.min(samples.length - 1, Math.floor(centre + reach));
    let sum = 0;
    for (let n = first; n <= last; n++) {
      const phase = Math.abs(n - centre) * PHASES,
        low = phase | 0;
      sum += samples[n] * (kernel[low] + (phase - low) * (kernel[low + 1] - kernel[low]));
    }
    out[place] = Math.max(-1, Math.min(1, sum)); // band limiting overshoots
  }
  return out;
}

function kernelOf(cut, reach) {
  return Float64Array.from({length: Math.ceil(reach * PHASES) + 2}, (_, place) => {
    const x = place / PHASES,
      share = Math.min(1, x / reach),
      angle = Math.PI * cut * x;
    const sinc = place ? Math.sin(angle) / angle : 1;
    return cut * sinc * (bessel(BETA * Math.sqrt(1 - share ** 2)) / bessel(BETA));
  });
}

/** The modified Bessel function of order 0. */
function bessel(x) {
  let sum = 1,
    term = 1;
  for (let k = 1; term > sum * 1e-12; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}
