/** Sizes in bytes as people write them: '6GB' is 6·10⁹, '6GiB' is 6·2³⁰. */

import { InputError } from '../errors.js'

const units: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
}

/** Whole bytes of a number or a text such as '6GB', '1.5 GiB' or '512mb'. @throws InputError `bad-memory-size` */
export function parseMemorySize(size: number | string, option = 'maxMemory'): number {
  const [, digits, unit] = (typeof size === 'string' && /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(size)) || []
  const bytes = typeof size === 'number' ? size : Math.floor(Number(digits) * (units[(unit ?? '').toUpperCase()] ?? Number.NaN))
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes
  const given = typeof size === 'string' ? JSON.stringify(size.slice(0, 40)) : String(size)
  throw new InputError(
    'bad-memory-size',
    `${option} is ${given}; it must be a whole number of bytes or a text like '6GB' or '6GiB'.`,
    {
      option,
      actual: typeof size === 'string' ? size.slice(0, 40) : Number.isFinite(size) ? size : String(size),
    },
  )
}
