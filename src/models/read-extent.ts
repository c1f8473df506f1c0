/** Reads a denoiser's `sample_size`. */

import type { ConfigReader } from './config-reader.js'
import type { Extent } from './types.js'

/** Reads `key` of a config as a size: one edge, or [height, width]. `fallback` is the edge if the value is neither. */
export function readExtent(reader: ConfigReader, key: string, fallback: number): Extent {
  const size = reader.raw(key)
  if (Array.isArray(size) && typeof size[0] === 'number' && typeof size[1] === 'number')
    return { height: size[0], width: size[1] }
  const edge = typeof size === 'number' ? size : fallback
  return { height: edge, width: edge }
}
