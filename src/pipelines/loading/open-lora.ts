/** Opens a LoRA: finds the file, refuses one for other networks by its header, downloads it and reads what its branches are. */

import { readLoraFile, readScalings, type LoraModule } from '../../checkpoint/lora/lora-file.js'
import { triggerWords } from '../../checkpoint/lora/lora-metadata.js'
import { matchLora, type AdaptableLayers, type MatchedLora } from '../../checkpoint/lora/match-lora.js'
import type { LoraComponent } from '../../checkpoint/lora/lora-keys.js'
import { CheckpointError, UnsupportedError } from '../../errors.js'
import { headersOnly } from '../../hub/downloads/header-only-file.js'
import type { Hub } from '../../hub/hub.js'
import type { FileInRepository } from '../../checkpoint/layouts/single-file/single-file.js'
import { openFile } from '../../hub/repositories/open-file.js'
import { openRepository, type OpenRepositoryOptions } from '../../hub/repositories/open-repository.js'
import type { ByteSource, OpenRepository, Repository } from '../../hub/types.js'
import type { LayerFactors } from '../network-adapters.js'
import type { Run } from '../run.js'
import type { LoadLoraOptions } from '../types.js'

/** The address of a file or of a repository, a file that the user picked, or a file in an open repository. */
export type LoraSource = string | File | FileInRepository

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
export interface OpenLoraRequest {
  readonly hub: () => Promise<Hub>
  readonly options: LoadLoraOptions & OpenRepositoryOptions
  /** The layers of the pipeline's networks. */
  readonly layers: ReadonlyMap<LoraComponent, AdaptableLayers>
  readonly run: Run
}

/**
 * @throws InputError `bad-url`; HubError; CheckpointError `lora-mismatch`, `not-a-lora`, `weights-not-found`, `safetensors-*`;
 *   UnsupportedError `lora-method`, `pickle-weights`; AbortError
 */
export async function openLora(source: LoraSource, request: OpenLoraRequest): Promise<OpenedLora> {
  const { run, layers } = request
  const { signal } = run
  const { repository, path, close } = await findFile(source, request)
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

interface FoundFile {
  readonly repository: Repository
  readonly path: string
  readonly close: () => void
}

async function findFile(source: LoraSource, { hub, options, run }: OpenLoraRequest): Promise<FoundFile> {
  if (typeof source === 'object' && 'repository' in source) return { ...source, close: () => {} }
  const opening = { ...options, signal: run.signal }
  const isAddress =
    typeof source !== 'string' || /\.(?:safetensors|bin|pt|ckpt)(?:[?#].*)?$|\/api\/download\/models\/\d+/i.test(source)
  const { repository, path } = isAddress
    ? await openFile(await hub(), source, opening)
    : await inRepository(await openRepository(await hub(), source, opening), options)
  const close = () => repository.close()
  if (!/\.(?:bin|pt|ckpt)$/i.test(path)) return { repository, path, close }
  close()
  throw new UnsupportedError(
    'pickle-weights',
    `${path} is in pickle format, which can run code. Only safetensors files are read.`,
    {
      files: [path],
    },
  )
}

/** The file of a repository that diffusers would take: the named one, its own name for LoRAs, or the first that is no part of a training. */
async function inRepository(
  repository: OpenRepository,
  { weightName, subfolder }: LoadLoraOptions,
): Promise<{ readonly repository: OpenRepository; readonly path: string }> {
  const folder = subfolder === undefined ? '' : `${subfolder.replace(/\/+$/, '')}/`
  if (weightName !== undefined) return { repository, path: folder + weightName }
  try {
    const paths = (await repository.files()).map(({ path }) => path)
    const files = paths.filter((path) => path.startsWith(folder) && /^[^/]+\.safetensors$/.test(path.slice(folder.length)))
    const usable = files.filter((path) => !/scheduler|optimizer|checkpoint/.test(path))
    const path = usable.find((name) => name.endsWith('pytorch_lora_weights.safetensors')) ?? usable[0]
    if (path !== undefined) return { repository, path }
    throw new CheckpointError(
      'weights-not-found',
      `${repository.id} has no safetensors file with a LoRA. Name one with weightName.`,
      {
        folder,
      },
    )
  } catch (error) {
    repository.close()
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
