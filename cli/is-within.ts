/** Where paths lie. */

import { isAbsolute, relative, sep } from 'node:path'

/** Whether an absolute path is a folder's, or that of something below it. Both without links and `..`. */
export function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path)
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
