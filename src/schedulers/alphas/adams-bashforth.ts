/** The weights of the linear multistep method of Adams and Bashforth, which PNDM and IPNDM use. */

const weights = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]

/** The factors of the last `count` slopes (1 to 4), the newest first. */
export function adamsBashforth(count: number): readonly number[] {
  return weights[count - 1] ?? [1]
}
