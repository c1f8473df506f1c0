/** For tests: numbers computed from a name. The generators of fixtures compute the same numbers, so that no fixture has to store them (fixtures/generator/config_keys/config_keys.py). */

/** Numbers from −1 to 1 that depend on the name and the index: FNV-1a of the name, then a 32-bit mixer. */
export function valuesFor(name: string, count: number): Float64Array {
  let seed = 2166136261
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 16777619)
  return Float64Array.from({ length: count }, (_, index) => {
    let x = (Math.imul(index, 2654435761) + seed) >>> 0
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d) >>> 0
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b) >>> 0
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 31 - 1
  })
}
