/** The page's own address: settings that a link brings, options of loading among them, and links that are given out. */

import type { LoadPipelineOptions } from '../../index.js'
import { fromQuery, toQuery, type PromptSettings } from '../parts/settings.js'

/** What the address asks for. */
export interface Address {
  readonly settings: Partial<PromptSettings>
  readonly loadOptions: LoadPipelineOptions
}

/** Reads the address's query. */
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

/** A link to this page with these settings. A revision that is no commit (a host without any) says nothing to others. */
export function shareLink(page: URL, settings: PromptSettings): string {
  const { revision, ...rest } = settings
  const link = new URL(page)
  link.hash = ''
  link.search = toQuery({ ...rest, ...(/^[0-9a-f]{40}$/.test(revision ?? '') ? { revision } : {}) }).toString()
  return link.href
}
