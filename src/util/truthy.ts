/** Python's truth value of a JSON value: diffusers' Python code tests config values with `if`. */

/**
 * Whether a JSON value is truthy in Python: null, false, 0, and empty strings, lists and objects are false. Returns `fallback` for a
 * missing key.
 */
export function isTruthy(value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0
  // In Python NaN is true.
  return Boolean(value) || Number.isNaN(value)
}
