/** Compares paths. */

import { isAbsolute, relative, sep } from 'node:path'

/** Whether an absolute path is a folder or lies inside it. Both paths have no links and no `..`. */
export function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path)
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
