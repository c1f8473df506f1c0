/** Opens a LoRA: finds the file, refuses one for other networks by its header, downloads it and reads what its branches are. */

import { readLoraFile, readScalings, type LoraModule } from '../../checkpoint/lora/lora-file.js'
import { triggerWords } from '../../checkpoint/lora/lora-metadata.js'
import { matchLora, type AdaptableLayers, type MatchedLora } from '../../checkpoint/lora/match-lora.js'
import type { LoraComponent } from '../../checkpoint/lora/lora-keys.js'
import { headersOnly } from '../../hub/downloads/header-only-file.js'
import type { ByteSource } from '../../hub/types.js'
import type { LayerFactors } from '../network-adapters.js'
import type { Run } from '../run.js'
import type { LoadLoraOptions } from '../adapter-types.js'
import { openAdapterFile, type AdapterFileRequest, type AdapterSource } from './open-adapter-file.js'

/** A LoRA that is ready to run. */
export interface OpenedLora {
  /** The file's name, to be shown to the user. */
  readonly file: string
  readonly factors: ReadonlyMap<LoraComponent, ReadonlyMap<string, LayerFactors>>
  readonly triggerWords: readonly string[]
  /** Bytes of the factors as they are stored. */
  readonly bytes: number
  /** Allows the cache to evict the file again. */
  readonly close: () => void
}

/** What opening needs besides the file. */
export interface OpenLoraRequest extends AdapterFileRequest<LoadLoraOptions> {
  /** The layers of the pipeline's networks. */
  readonly layers: ReadonlyMap<LoraComponent, AdaptableLayers>
}

/**
 * @throws InputError `bad-url`; HubError; CheckpointError `lora-mismatch`, `not-a-lora`, `weights-not-found`, `safetensors-*`;
 *   UnsupportedError `lora-method`, `pickle-weights`; AbortError
 */
export async function openLora(source: AdapterSource, request: OpenLoraRequest): Promise<OpenedLora> {
  const { run, layers } = request
  const { signal } = run
  const { repository, path, close } = await openAdapterFile(source, request, 'pytorch_lora_weights.safetensors')
  try {
    const name = path.split('/').at(-1) ?? path
    const read = async (bytes: ByteSource) => {
      const lora = await readLoraFile(bytes, name, { signal })
      return { lora, matched: matchLora(lora, name, layers) }
    }
    // Refuses a file for other networks before it is downloaded.
    await read(await headersOnly(repository).open(path, { signal }))
    const bytes = await repository.open(path, {
      signal,
      onProgress: (file) => run.report({ type: 'file', component: 'lora', file }),
    })
    const { lora, matched } = await read(bytes)
    warnOfIgnored(name, matched, lora.ignoresDora, run)
    const scalings = await readScalings(lora, bytes, { signal })
    const factors = new Map(
      [...matched.components].map(([component, modules]) => [
        component,
        new Map([...modules].map(([layer, module]) => [layer, factorsOf(module, bytes, scalings.get(module) ?? 1)])),
      ]),
    )
    return { file: name, factors, triggerWords: triggerWords(lora.metadata), bytes: bytesOf(matched), close }
  } catch (error) {
    close()
    throw error
  }
}

function factorsOf({ a, b, rank }: LoraModule, source: ByteSource, scaling: number): LayerFactors {
  return { a: { ...a, source }, b: { ...b, source }, rank, scaling }
}

function bytesOf({ components }: MatchedLora): number {
  let sum = 0
  for (const modules of components.values()) for (const { a, b } of modules.values()) sum += a.end - a.begin + (b.end - b.begin)
  return sum
}

function warnOfIgnored(file: string, { ignored }: MatchedLora, ignoresDora: boolean, run: Run): void {
  if (ignored.length > 0) {
    const shown = ignored.slice(0, 3).map(({ a }) => a.name)
    run.warn(
      'lora-ignored',
      `${file}: ${ignored.length} of its layers are not in this pipeline and are ignored, such as ${shown.join(', ')}.`,
    )
  }
  if (ignoresDora)
    run.warn(
      'lora-dora',
      `${file} was trained as DoRA. Its magnitudes are ignored, as in diffusers, so images differ from those of its author.`,
    )
}
