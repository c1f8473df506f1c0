/** Formats numbers for people: byte counts as parts of a total, and times. */

import { byteUnits, formatBytes } from '../../util/format-bytes.js'

/** Formats `1.23 of 4.56 GB`, both numbers in the unit of the whole. */
export function formatShare(part: number, whole: number): string {
  const [number = '', unit = ''] = formatBytes(whole).split(' ')
  const scale = 1000 ** byteUnits.indexOf(unit as (typeof byteUnits)[number])
  const digits = number.split('.')[1]?.length ?? 0
  return `${(part / scale).toFixed(digits)} of ${number} ${unit}`
}

/** Formats `8 s`, `2 min 5 s`, `1 h 12 min`. With `fine`, times below ten seconds have one decimal. */
export function formatSeconds(seconds: number, fine = false): string {
  if (fine && seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return whole % 60 === 0 ? `${whole / 60} min` : `${Math.floor(whole / 60)} min ${whole % 60} s`
  const minutes = Math.round(seconds / 60)
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Formats a remaining time coarsely, because it is an estimate: `a few seconds`, `40 s`, `3 min`, `1 h 10 min`. */
export function formatTimeLeft(seconds: number): string {
  if (seconds < 5) return 'a few seconds'
  if (seconds < 60) return formatSeconds(Math.ceil(seconds / 5) * 5)
  if (seconds < 600) return formatSeconds(Math.ceil(seconds / 30) * 30)
  return formatSeconds(Math.ceil(seconds / 300) * 300)
}
