/**
 * Presents a checkpoint in one file as the folders in which diffusers would save it: with the configs of its family's repository, and for
 * each component a safetensors file whose bytes are collected when it is read. So `inspect` and `shard` read it like any other repository.
 */

import type { Layout } from '../../src/checkpoint/layouts/layout.js'
import { constantSource, joined } from '../../src/checkpoint/layouts/single-file/derived-sources.js'
import {
  checkSingleFileName,
  openSingleFile,
  type FileInRepository,
} from '../../src/checkpoint/layouts/single-file/single-file.js'
import { readTensorFile } from '../../src/checkpoint/tensor-file.js'
import { transformTable } from '../../src/checkpoint/transforms/transform-table.js'
import type { WeightTable } from '../../src/checkpoint/types.js'
import { isAquatintError } from '../../src/errors.js'
import type { ByteSource, ReadOptions, Repository } from '../../src/hub/types.js'
import { isWeightFile } from '../read-contents.js'

/** The arguments of {@link singleFileFolder}. */
export interface SingleFileFolderRequest {
  readonly file: FileInRepository
  /** The repository with the configs, if the user named one. */
  readonly config: Repository | undefined
  /** Opens the family's own repository by its id. */
  readonly open: (id: string) => Promise<Repository>
  readonly warn: (message: string) => void
}

/** @throws UnsupportedError `single-file-family`, `pickle-weights`; CheckpointError; HubError */
export async function singleFileFolder(request: SingleFileFolderRequest, options: ReadOptions): Promise<Repository> {
  const { file, warn } = request
  checkSingleFileName(file.path)
  const header = await readTensorFile(await file.repository.open(file.path, options), file.path, options)
  let config = request.config
  const open = async (id: string) => (config = await request.open(id))
  const layout = await openSingleFile({ file, header, config, open, warn: (_code, message) => warn(message) }, options)
  const { made: weights, kept } = await weightFiles(layout, options)
  const configs = ((await config?.files(options)) ?? []).filter(({ path }) => !isWeightFile(path) || kept.has(path))
  const made = [...weights].map(([path, { byteLength }]) => ({ path, size: byteLength }))
  return {
    id: file.repository.revision === 'local' ? file.path : file.repository.id,
    revision: file.repository.revision,
    files: () => Promise.resolve([...configs, ...made].toSorted((a, b) => (a.path < b.path ? -1 : 1))),
    open: async (path, opening) => {
      const source = weights.get(path) ?? (await config?.open(path, opening))
      if (source === undefined) throw new TypeError(`${path} cannot be read, because no repository with configs was found.`)
      return source
    },
  }
}

/**
 * `made`: a safetensors file for each component in the single file, by its path in diffusers' layout. `kept`: for components that the single file
 * lacks, the paths of the weight files in the repository with the configs.
 */
async function weightFiles(
  layout: Layout,
  options: ReadOptions,
): Promise<{ readonly made: ReadonlyMap<string, ByteSource>; readonly kept: ReadonlySet<string> }> {
  const files = new Map<string, ByteSource>()
  const kept = new Set<string>()
  for (const [name, component] of layout.components) {
    if (component === null || !(await component.files.has('config.json', options))) continue
    const library = component.library === 'transformers' ? 'transformers' : 'diffusers'
    const chosen = await component.files
      .chooseWeights({ library, missingVariant: 'fallback' }, options)
      .catch((error: unknown) => {
        // The code that later reads this component reports what the file lacks.
        if (isAquatintError(error)) return undefined
        throw error
      })
    if (chosen === undefined) continue
    if (chosen.transforms.length === 0) {
      for (const path of [...(await chosen.files(options)), ...(chosen.index === null ? [] : [chosen.index])]) kept.add(path)
      continue
    }
    const stem = library === 'diffusers' ? 'diffusion_pytorch_model' : 'model'
    files.set(`${name}/${stem}.safetensors`, safetensorsSource(transformTable(await chosen.read(options), chosen.transforms)))
  }
  return { made: files, kept }
}

/** Returns the tensors of a table as a safetensors file. */
function safetensorsSource(table: WeightTable): ByteSource {
  const header: Record<string, unknown> = {}
  let at = 0
  for (const { name, dtype, shape, begin, end } of table.values()) {
    header[name] = { dtype, shape, data_offsets: [at, at + end - begin] }
    at += end - begin
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  const head = new Uint8Array(8 + json.byteLength)
  new DataView(head.buffer).setBigUint64(0, BigInt(json.byteLength), true)
  head.set(json, 8)
  return joined([{ source: constantSource(head), begin: 0, end: head.byteLength }, ...table.values()])
}
