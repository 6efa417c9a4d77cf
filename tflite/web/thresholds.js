/* The cosine from which a person is one of a gallery, proposed from the enrolled images alone: as thresholds.py. */

import { dot } from "./gallery.js";

export const DEFAULT = 0.65; // with fewer people
const FEWEST = 3; // people from whom a threshold can be proposed
const NORMAL = 1.6449; // .95 quantile of the normal distribution: one stranger in twenty would get a name
const LARGEST = 0.9999;

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const squares = (values, from) => values.reduce((sum, value) => sum + (value - from) ** 2, 0);

/* Quantile of Student's distribution, by the expansion of Cornish and Fisher. */
function student(degrees) {
  const z = NORMAL;
  return z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2);
}

/* As NumPy's: between the two nearest values. */
function quantile(values, fraction) {
  const sorted = [...values].sort((a, b) => a - b), at = fraction * (sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

/* Returns the proposed threshold of gallery entries { name, values, scale }, or null for fewer than three people. */
export function proposed(entries) {
  const people = new Map();
  for (const entry of entries) people.set(entry.name, [...(people.get(entry.name) ?? []), entry]);
  if (people.size < FEWEST) return null;
  const cosine = (a, b) => dot(a.values, b.values) * a.scale * b.scale;
  const largest = (entry, others) => others.reduce((most, other) => Math.max(most, cosine(entry, other)), -1);
  const means = [], variances = [], alike = [];
  for (const [name, own] of people) {
    const others = entries.filter((entry) => entry.name !== name);
    const strangers = own.map((entry) => Math.atanh(Math.min(Math.max(largest(entry, others), -LARGEST), LARGEST)));
    means.push(mean(strangers));
    variances.push(squares(strangers, means.at(-1)) / Math.max(own.length - 1, 1));
    if (own.length > 1) alike.push(...own.map((entry) => largest(entry, own.filter((other) => other !== entry))));
  }
  const count = means.length, center = mean(means);
  const spread = Math.sqrt((squares(means, center) / (count - 1)) * (1 + 1 / count) + mean(variances));
  const limit = Math.tanh(center + student(count - 1) * spread);
  return alike.length ? Math.max(limit, (limit + quantile(alike, 0.1)) / 2) : limit;
}
