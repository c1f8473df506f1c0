/**
 * Computes a key from a program's bytes; programs with equal keys share a session. The key makes accidental collisions improbable (128 bits
 * in four parts). It is not a cryptographic hash, and no security decision depends on it.
 */

/** Returns 32 hex digits that depend on every byte and on the length. */
export function contentKey(bytes: Uint8Array): string {
  const lanes = [0x9e3779b9, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f]
  const multipliers = [0x01000193, 0x5bd1e995, 0xcc9e2d51, 0x1b873593]
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const words = bytes.byteLength >>> 2
  for (let lane = 0; lane < 4; lane++) {
    const multiplier = multipliers[lane] ?? 1
    let state = (lanes[lane] ?? 0) ^ bytes.byteLength
    for (let index = 0; index < words; index++) {
      state = Math.imul(state ^ view.getUint32(index * 4, true), multiplier)
      state ^= state >>> 15
    }
    for (let index = words * 4; index < bytes.byteLength; index++) {
      state = Math.imul(state ^ (bytes[index] ?? 0), multiplier)
      state ^= state >>> 13
    }
    lanes[lane] = Math.imul(state ^ (state >>> 16), 0x7feb352d) >>> 0
  }
  return lanes.map((lane) => lane.toString(16).padStart(8, '0')).join('')
}
