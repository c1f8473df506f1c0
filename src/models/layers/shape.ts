/** Checks the sizes that a caller requests, before a graph is written. */

import { InputError } from '../../errors.js'

/** Checks that every size is a whole number from 1 to its limit. @throws InputError `invalid-shape` */
export function checkShape(shape: Readonly<Record<string, number>>, limits: Readonly<Record<string, number>>): void {
  for (const [key, max] of Object.entries(limits)) {
    const value = shape[key]
    if (value === undefined || !Number.isInteger(value) || value < 1 || value > max) {
      const message = `${key} is ${String(value)}; allowed: a whole number from 1 to ${max}`
      throw new InputError('invalid-shape', message, { key, value: value ?? null, min: 1, max })
    }
  }
}

/** The largest batch, token count and latent or image edge that a graph can have. `encodedTokens` is lower because a text encoder's graph has a value for each pair of tokens. */
export const shapeLimits = { batch: 256, sequenceLength: 4096, encodedTokens: 1024, latentEdge: 2048, imageEdge: 16384 } as const
