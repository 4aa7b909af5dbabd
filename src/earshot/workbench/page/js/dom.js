// Elements, and numbers as people read them.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; texts stay texts, whatever they hold. */
export function h(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split('.'),
    element = document.createElement(tag);
  element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const percent = (share) => `${(100 * share).toFixed(1)}%`;
export const megabytes = (bytes) =>
  bytes >= 5e5 ? `${(bytes / 1e6).toFixed(2)} MB` : `${Math.round(bytes / 1e3)} kB`;

/** Seconds as m:ss, or m:ss.t. */
export function clock(seconds, digits = 0) {
  const tenths = Number(seconds.toFixed(digits)),
    minutes = Math.floor(tenths / 60);
  const rest = (tenths - 60 * minutes).toFixed(digits);
  return `${minutes}:${rest.padStart(digits ? digits + 3 : 2, '0')}`;
}

/** Hand a file to the person. */
export function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], {type}));
  h('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
