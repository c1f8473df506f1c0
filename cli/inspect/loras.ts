/** `aquatint inspect --lora`: whether LoRAs fit a checkpoint, from their headers alone. */

import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { readLoraFile, type LoraFile } from '../../src/checkpoint/lora/lora-file.js'
import { triggerWords } from '../../src/checkpoint/lora/lora-metadata.js'
import { matchLora, type MatchedLora } from '../../src/checkpoint/lora/match-lora.js'
import type { LoraComponent } from '../../src/checkpoint/lora/lora-keys.js'
import { AquatintError } from '../../src/errors.js'
import { headersOnly } from '../../src/hub/downloads/header-only-file.js'
import { Hub } from '../../src/hub/hub.js'
import type { ByteSource } from '../../src/hub/types.js'
import { adaptableLayers, type Network } from '../../src/pipelines/bind-network.js'
import { bytesOfLora, layerFactors } from '../../src/pipelines/loading/adapters/lora-factors.js'
import { openAdapterFile } from '../../src/pipelines/loading/adapters/open-adapter-file.js'
import { loraNetworks } from '../../src/pipelines/lora-networks.js'
import { Run } from '../../src/pipelines/run.js'
import { parseLoraReference } from '../../src/util/lora-reference.js'
import { DiskRepository } from '../disk-repository.js'
import type { CommandIO } from '../output.js'
import type { RemoteOptions } from './find-repository.js'

/** A LoRA that the user named with `--lora`, and its header. */
export interface NamedLora {
  readonly source: string
  readonly weight: number
  readonly file: string
  readonly bytes: ByteSource
  readonly lora: LoraFile
}

/** The description of a LoRA in `aquatint inspect --json`. */
export type InspectedLora = { readonly source: string; readonly weight: number; readonly file: string } & (
  | {
      readonly fits: true
      readonly components: readonly string[]
      readonly layers: number
      readonly bytes: number
      readonly triggerWords: readonly string[]
      /** Layers of the file that the checkpoint does not have. */
      readonly ignored: number
    }
  | { readonly fits: false; readonly code: string; readonly message: string }
)

/**
 * Opens LoRAs from files on disk, from URLs of files, and from repositories on the Hub.
 * @throws the errors of `openAdapterFile`; CheckpointError `not-a-lora`, `safetensors-*`; UnsupportedError `lora-method`
 */
export async function openLoras(
  texts: readonly string[],
  options: RemoteOptions,
  io: CommandIO,
): Promise<{ readonly loras: readonly NamedLora[]; readonly close: () => Promise<void> }> {
  const closing: (() => void | Promise<void>)[] = []
  const close = async () => {
    for (const end of closing) await end()
  }
  try {
    const loras: NamedLora[] = []
    for (const text of texts) {
      const { source, weight } = parseLoraReference(text)
      const isOnDisk = (await stat(source).catch(() => null))?.isFile() === true
      const opened = isOnDisk ? onDisk(source) : await byAddress(source, options, io)
      closing.push(opened.close)
      const bytes = await headersOnly(opened.repository).open(opened.path, { signal: io.signal })
      const file = basename(opened.path)
      loras.push({ source, weight, file, bytes, lora: await readLoraFile(bytes, file, { signal: io.signal }) })
    }
    return { loras, close }
  } catch (error) {
    await close()
    throw error
  }
}

function onDisk(path: string) {
  const repository = DiskRepository.ofFile(path)
  return { repository, path: basename(path), close: () => repository.close() }
}

async function byAddress(source: string, options: RemoteOptions, io: CommandIO) {
  const { config: _config, ...remote } = options
  const hub = await Hub.open({ store: null })
  const request = { hub: () => Promise.resolve(hub), options: remote, run: new Run({ signal: io.signal }) }
  return openAdapterFile(source, request, 'pytorch_lora_weights.safetensors')
}

/** Matches LoRAs with the networks of a checkpoint. */
export function inspectLoras(loras: readonly NamedLora[], networks: ReadonlyMap<string, Network>): readonly InspectedLora[] {
  return loras.map(({ source, weight, file, lora }) => {
    const named = { source, weight, file }
    try {
      const matched = match({ file, lora }, networks)
      const components = [...matched.components.keys()].map(
        (component) => loraNetworks(networks).get(component)?.name ?? component,
      )
      const layers = [...matched.components.values()].reduce((sum, { size }) => sum + size, 0)
      const words = triggerWords(lora.metadata)
      return {
        ...named,
        fits: true,
        components,
        layers,
        bytes: bytesOfLora(matched),
        triggerWords: words,
        ignored: matched.ignored.length + matched.unread.length,
      }
    } catch (error) {
      if (!(error instanceof AquatintError)) throw error
      return { ...named, fits: false, code: error.code, message: error.message }
    }
  })
}

/** Activates in the networks those LoRAs that fit, so that a memory plan counts their factors. */
export function activateLoras(loras: readonly NamedLora[], networks: ReadonlyMap<string, Network>): void {
  const byComponent = loraNetworks(networks)
  const matches = loras.map((named) => {
    try {
      return { ...named, matched: match(named, networks) }
    } catch (error) {
      if (error instanceof AquatintError) return { ...named, matched: undefined }
      throw error
    }
  })
  for (const [component, network] of byComponent) {
    const active = matches.flatMap(({ matched, bytes, weight }, id) => {
      const branches = matched?.components.get(component)
      return branches === undefined ? [] : [{ adapter: { id, layers: layerFactors(branches, bytes, new Map()) }, weight }]
    })
    network.adapters?.activate(active)
  }
}

function match({ file, lora }: Pick<NamedLora, 'file' | 'lora'>, networks: ReadonlyMap<string, Network>): MatchedLora {
  const layers = [...loraNetworks(networks)].map(([component, { model }]) => [component, adaptableLayers(model)] as const)
  return matchLora(lora, file, new Map<LoraComponent, ReadonlyMap<string, readonly number[]>>(layers))
}
