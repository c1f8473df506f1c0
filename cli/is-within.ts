/** Compares paths. */

import { isAbsolute, relative, sep } from 'node:path'

/** Whether an absolute path is `folder` or lies inside it. Neither path may have links or `..`. */
export function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path)
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
