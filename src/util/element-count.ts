/** How many elements a shape has. */

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((count, size) => count * size, 1)
}
