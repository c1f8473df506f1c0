/** Python's truth of a JSON value: configs are read by Python code that tests a key with `if`. */

/**
 * Whether Python takes a JSON value for true: null, false, 0, and empty strings, lists and objects are false. Returns `fallback` for a
 * missing key.
 */
export function isTruthy(value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0
  // In Python NaN is true.
  return Boolean(value) || Number.isNaN(value)
}
