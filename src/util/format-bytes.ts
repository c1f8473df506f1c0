/** Formats a number of bytes for display, in decimal units as disks and networks use them. */

/** The units, each 1000 times the one before. */
export const byteUnits = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** A number of bytes with three digits, such as `1.23 GB`. */
export function formatBytes(bytes: number): string {
  let unit = 0
  let value = bytes
  // 999.5 rounds to 1000, which belongs to the next unit.
  while (value >= 999.5 && unit < byteUnits.length - 1) {
    value /= 1000
    unit++
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
  return `${value.toFixed(digits)} ${byteUnits[unit] ?? 'B'}`
}
