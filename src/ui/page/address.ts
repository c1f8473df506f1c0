/** The URL of the page: reads settings and load options from it, and creates links. */

import type { LoadPipelineOptions } from '../../index.js'
import { fromQuery, toQuery, type PromptSettings } from '../parts/settings.js'

/** The settings and load options in a URL. */
export interface Address {
  readonly settings: Partial<PromptSettings>
  readonly loadOptions: LoadPipelineOptions
}

/** Reads the query of a URL. */
export function readAddress(url: URL): Address {
  const { revision, ...settings } = fromQuery(url.searchParams)
  const options: Record<string, string> = {}
  for (const name of ['endpoint', 'variant', 'device', 'offload'] as const) {
    const value = url.searchParams.get(name)
    if (value !== null && value !== '') options[name] = value
  }
  const maxMemory = url.searchParams.get('max-memory')
  return {
    settings,
    loadOptions: {
      ...(options as LoadPipelineOptions),
      ...(revision === undefined ? {} : { revision }),
      ...(maxMemory === null || maxMemory === '' ? {} : { maxMemory }),
    },
  }
}

/** A link to this page with these settings. A revision that is not a commit is left out, because it would mean nothing to others. */
export function shareLink(page: URL, settings: PromptSettings): string {
  const { revision, ...rest } = settings
  const link = new URL(page)
  link.hash = ''
  link.search = toQuery({ ...rest, ...(/^[0-9a-f]{40}$/.test(revision ?? '') ? { revision } : {}) }).toString()
  return link.href
}
