/**
 * Rewrites a repository, or a checkpoint in one file: its weights in shards of a given size and type, every other file copied. A run with the same options resumes from
 * the complete files of an interrupted run.
 */

import { quantizeVersions } from '../../src/checkpoint/transforms/quantize-rows.js'
import { CheckpointError, InputError, StorageError } from '../../src/errors.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { isWeightFile, readContents, type ComponentContents, type RepositoryContents } from '../read-contents.js'
import type { Repository } from '../../src/hub/types.js'
import type { RemoteOptions } from '../inspect/find-repository.js'
import { ProgressBar, type CommandIO } from '../output.js'
import type { Finding } from '../runnable.js'
import {
  oddComponent,
  pathIn,
  planComponent,
  type ConversionOptions,
  type ComponentShards,
  type OddComponent,
  type ShardedComponent,
} from './shard-component.js'
import { configText, type DTypeChoice, type DTypeWord } from './shard-dtypes.js'
import { openSource, type ShardSource } from './shard-source.js'
import { beginTarget, checkSpace, findTarget } from './shard-target.js'
import type { WorkFolder } from './work-folder.js'
import { readConfig } from '../../src/checkpoint/read-config.js'

/** Options of {@link shardRepository}. */
export interface ShardOptions extends ConversionOptions {
  /** A folder in diffusers' layout, or a checkpoint in one file. */
  readonly source: string
  /** Where the configs of a checkpoint in one file come from. */
  readonly remote: RemoteOptions
  readonly out: string
  /** The variant that is read. */
  readonly variant: string | null
}

/** The document that `aquatint shard --json` prints. */
export interface ShardResult {
  readonly out: string
  readonly components: readonly ShardedComponent[]
  readonly copied: readonly string[]
  /** Files with weights in other formats and variants, which were not copied. */
  readonly leftOut: readonly string[]
  /** Components that could not be rewritten and were copied unchanged. */
  readonly warnings: readonly Finding[]
  /** Tensors with finite values that float16 cannot hold. These values are infinite now. */
  readonly overflows: readonly { readonly component: string; readonly tensor: string; readonly count: number }[]
}

/** The version of the rules by which files are written. A result of another version is not resumed. */
const rulesVersion = 1

/** The work for each file. */
interface Work {
  readonly plans: readonly ComponentShards[]
  /** The paths and sizes of the files that are copied. */
  readonly copied: readonly { readonly path: string; readonly size: number }[]
  readonly configs: readonly { readonly path: string; readonly dtype: DTypeWord }[]
}

/**
 * Writes the shards and copies the other files.
 * @throws InputError, CheckpointError, UnsupportedError, StorageError, AbortError, or an error of the file system
 */
export async function shardRepository(options: ShardOptions, io: CommandIO): Promise<ShardResult> {
  const source = await openSource(options.source, options.remote, io)
  try {
    return await writeAnew(source, options, io)
  } catch (error) {
    throw storageError(error, options.out) ?? error
  } finally {
    await source.close()
  }
}

async function writeAnew(source: ShardSource, options: ShardOptions, io: CommandIO): Promise<ShardResult> {
  const { repository } = source
  const reading = { signal: io.signal }
  const { maxShardSize, variant, saveVariant } = options
  const dtypes = [...options.dtypes]
  const own = { rulesVersion, quantizeVersions, maxShardSize, dtypes, variant, saveVariant }
  const fingerprintOf = async () => JSON.stringify({ source: await source.state(), options: own })
  const fingerprint = await fingerprintOf()
  const target = await findTarget(source.path, options.out, fingerprint)
  const contents = await readContents(repository, variant, reading)
  checkNames(options.dtypes, contents.components)
  const { plans, odd } = await planAll(repository, contents, options, io.signal)

  const files = await repository.files()
  const configs = plans.flatMap(({ name, summary: { dtype } }) => {
    const path = pathIn(name, 'config.json')
    return dtype === null || !files.some((file) => file.path === path) ? [] : [{ path, dtype }]
  })
  const read = new Set(plans.flatMap(({ sources }) => sources))
  const others = files.filter(({ path }) => !read.has(path) && !configs.some((config) => config.path === path))
  const isLeft = (path: string) => isWeightFile(path) && !odd.some(({ name }) => path.startsWith(`${name}/`))
  const copied = others.filter(({ path }) => !isLeft(path))

  const { out, work } = await beginTarget(target, fingerprint)
  const overflows = await writeAll(repository, work, { plans, copied, configs }, io).catch(async (error: unknown) => {
    await work.discardEmpty(out)
    throw error
  })
  // Reading takes minutes, in which the source may change. A result made from two states of it would be useless.
  if ((await fingerprintOf()) !== fingerprint)
    throw new CheckpointError('source-changed', `${source.path} changed while it was read. Run the command again.`, {
      folder: source.path,
    })
  await work.finish(out)
  return {
    out,
    components: plans.map((plan) => plan.summary),
    copied: copied.map((file) => file.path),
    leftOut: others.filter(({ path }) => isLeft(path)).map(({ path }) => path),
    warnings: odd.map(({ name, fault }) => ({ component: name, code: fault.code, message: fault.message })),
    overflows,
  }
}

async function planAll(
  repository: Repository,
  { layout, components }: RepositoryContents,
  options: ConversionOptions,
  signal: AbortSignal,
): Promise<{ readonly plans: readonly ComponentShards[]; readonly odd: readonly OddComponent[] }> {
  const plans: ComponentShards[] = []
  const odd: OddComponent[] = []
  for (const component of components) {
    try {
      const plan = await planComponent(component, options, { signal })
      if (plan !== null) plans.push(plan)
    } catch (error) {
      odd.push(oddComponent(layout?.className ?? null, component, options, error))
    }
  }
  if (plans.length === 0)
    throw new CheckpointError('no-weights', `No component of ${repository.id} has weights.`, { repository: repository.id })
  return { plans, odd }
}

/** Writes the files that are missing, and returns the overflows of all files. */
async function writeAll(
  repository: Repository,
  work: WorkFolder,
  { plans, copied, configs }: Work,
  io: CommandIO,
): Promise<ShardResult['overflows']> {
  const shards = plans.flatMap((plan) =>
    plan.files.map((file) => ({ plan, file, path: pathIn(plan.name, file.name), size: file.byteLength })),
  )
  // model_index.json marks a repository, so it is written last: a folder that is filled in place is recognized only when complete.
  const copies = copied.toSorted((a, b) => Number(a.path === 'model_index.json') - Number(b.path === 'model_index.json'))
  const known = new Map(await Promise.all(shards.map(async ({ path, size }) => [path, await work.written(path, size)] as const)))
  const missing = [
    ...shards.filter(({ path }) => known.get(path) === undefined),
    ...(await Promise.all(copies.map(async (file) => ((await work.has(file.path, file.size)) ? [] : [file])))).flat(),
  ]
  await checkSpace(
    work,
    missing.reduce((sum, { size }) => sum + size, 0),
  )
  const progress = new ProgressBar(
    io,
    [...shards, ...copies].reduce((sum, { size }) => sum + size, 0),
  )
  const writing = { signal: io.signal, onBytes: (bytes: number) => progress.add(bytes) }
  const overflows: ShardResult['overflows'][number][] = []
  try {
    for (const { plan, file, path, size } of shards) {
      const tensors = file.tensors.map(({ entry }) => entry.name)
      let noted = known.get(path)
      if (noted === undefined) {
        progress.label(path)
        await work.writeShard(path, file, () => plan.overflows(tensors), writing)
        noted = plan.overflows(tensors)
        progress.line(`${path}: ${formatBytes(size)}, ${tensors.length} tensors`)
      } else {
        progress.add(size, true)
        progress.line(`${path}: already complete`)
      }
      for (const [tensor, count] of Object.entries(noted)) overflows.push({ component: plan.name, tensor, count })
    }
    for (const { index, name } of plans) if (index !== null) await work.writeText(pathIn(name, index.name), index.text)
    for (const { path, dtype } of configs) {
      const source = await repository.open(path, { signal: io.signal })
      const text = new TextDecoder().decode(await source.read({ begin: 0, end: source.byteLength }))
      await work.writeText(path, configText(text, await readConfig(repository, path), dtype))
    }
    for (const file of copies) {
      progress.label(file.path)
      if (missing.includes(file)) await work.copy(await repository.open(file.path, { signal: io.signal }), file.path, writing)
      else progress.add(file.size, true)
    }
  } finally {
    progress.clear()
  }
  return overflows
}

function checkNames(dtypes: DTypeChoice, components: readonly ComponentContents[]): void {
  const names = components.filter(({ weights, faults }) => weights !== null || faults.length > 0).map(({ name }) => name)
  for (const name of dtypes.keys()) {
    if (name !== '' && !names.includes(name))
      throw new InputError(
        'dtype',
        `--dtype names the component ${JSON.stringify(name)}; those with weights are ${names.join(', ')}.`,
        {
          component: name,
          allowed: names,
        },
      )
  }
}

/** Turns the system's errors about disk space into errors that say what to do. */
function storageError(error: unknown, out: string): StorageError | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new StorageError(
      'disk-space',
      `There is no space left for ${out}. Complete files are kept: free some space and run the same command again.`,
      { out },
      error,
    )
  if (code === 'EFBIG')
    return new StorageError(
      'file-size',
      `The disk of ${out} cannot hold a file that large; choose a smaller --max-shard-size.`,
      { out },
      error,
    )
  return undefined
}
