/** The name of a cached model: its id on a Hub, else the URL of its files, as a relative path if they are in the page's folder. Pure. */

import type { CachedModel } from '../../index.js'

/** @param page the URL of the page */
export function modelName({ id, endpoint }: Pick<CachedModel, 'id' | 'endpoint'>, page: string): string {
  if (id !== '') return id
  const folder = new URL('.', page).href
  const place = endpoint.startsWith(folder) ? `./${endpoint.slice(folder.length)}` : endpoint
  return place.replace(/\/$/, '')
}
