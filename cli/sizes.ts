/** Sizes in bytes, read as huggingface_hub reads `max_shard_size` and written for people. */

import { InputError } from '../src/errors.js'

const units: Readonly<Record<string, number>> = {
  TB: 1e12,
  GB: 1e9,
  MB: 1e6,
  KB: 1e3,
  TIB: 2 ** 40,
  GIB: 2 ** 30,
  MIB: 2 ** 20,
  KIB: 2 ** 10,
}

/**
 * `5GB` is 5·10^9 as in huggingface_hub, `5GiB` is 5·2^30, a bare number is bytes.
 * @throws InputError `size`
 */
export function parseSize(text: string, option: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)?\s*$/i.exec(text)
  const bytes =
    match === null ? 0 : Math.floor(Number(match[1]) * (match[2] === undefined ? 1 : (units[match[2].toUpperCase()] ?? 0)))
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new InputError(
      'size',
      `${option} is ${JSON.stringify(text)}; expected a size such as 2GB, 500MB, 4GiB or a number of bytes.`,
      {
        option,
        value: text,
      },
    )
  return bytes
}

/** `1.07 GB`: three figures, powers of ten. */
export function showSize(bytes: number): string {
  let value = bytes
  for (const unit of ['bytes', 'kB', 'MB', 'GB']) {
    if (value < 999.5) return unit === 'bytes' ? `${value} bytes` : `${Number(value.toPrecision(3))} ${unit}`
    value /= 1000
  }
  return `${Number(value.toPrecision(3))} TB`
}

/** `2.57 billion`, for parameters. */
export function showCount(count: number): string {
  if (count >= 999.5e6) return `${Number((count / 1e9).toPrecision(3))} billion`
  if (count >= 999.5e3) return `${Number((count / 1e6).toPrecision(3))} million`
  return String(count)
}
