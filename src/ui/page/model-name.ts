/** What a cached model is called: its id on a Hub, else where its files are, relative to the page where they are the page's own. Pure. */

import type { CachedModel } from '../../index.js'

/** @param page the page's address */
export function modelName({ id, endpoint }: Pick<CachedModel, 'id' | 'endpoint'>, page: string): string {
  if (id !== '') return id
  const folder = new URL('.', page).href
  const place = endpoint.startsWith(folder) ? `./${endpoint.slice(folder.length)}` : endpoint
  return place.replace(/\/$/, '')
}
