/**
 * Assembles the outputs of the text encoders to the prompt embeddings that the denoiser takes, on the denoiser's device. For guidance, the
 * negative and the positive embeddings are one batch.
 */

import type { Device } from '../../runtime/device.js'
import type { DeviceTensor, Piece } from '../../runtime/types.js'
import type { ComponentHost, Value } from '../execution/component-host.js'
import type { Network } from '../bind-network.js'
import type { Run, Recorder } from '../run.js'
import { withTemporary, type Keep } from '../tensors.js'
import type { PromptWeighting } from '../types.js'

/** A denoiser's inputs that stay from step to step, by name, on its device. */
export type Condition = Readonly<Record<string, DeviceTensor>>

/** One image's embedding: a tensor of shape `dims`, into which `parts` are copied. The rest is zeros. */
export interface Embedding {
  readonly dims: readonly number[]
  readonly parts: readonly EmbeddingPart[]
}

/** A tensor whose first dim is 1, or a box of the tensor, and its place in an embedding. */
export interface EmbeddingPart extends Pick<Piece, 'from' | 'size'> {
  readonly tensor: Value
  readonly at: readonly number[]
}

/** What one prompt is encoded to: [tokens, width], and for some families a pooled [width]. */
export interface EncodedPrompt {
  readonly embeds: Embedding
  readonly pooled: Embedding | null
  /** The attention mask: 1 for each token that the denoiser attends to, else 0. For families whose denoiser takes one. */
  readonly mask?: Embedding | undefined
}

/** The embeddings that diffusers' `encode_prompt` gives for one prompt. Without guidance, `negative` is null. */
export interface EncodedPrompts {
  readonly positive: EncodedPrompt
  readonly negative: EncodedPrompt | null
}

/** The embeddings of all prompts of a call, in their order. */
export interface EncodedBatch {
  readonly positive: readonly EncodedPrompt[]
  readonly negative: readonly EncodedPrompt[] | null
}

/** Joins tensors [1, …, width] along the last axis. */
export function sideBySide(tensors: readonly Value[]): Embedding {
  const [, ...first] = tensors[0]?.dims ?? []
  const rows = first.slice(0, -1)
  let width = 0
  const parts = tensors.map((tensor) => {
    const at = [...rows.map(() => 0), width]
    width += tensor.dims.at(-1) ?? 0
    return { tensor, at }
  })
  return { dims: [...rows, width], parts }
}

/** A prompt's embeddings, all zeros. */
export function emptyPrompt({ embeds, pooled, mask }: EncodedPrompt): EncodedPrompt {
  return { embeds: { ...embeds, parts: [] }, pooled: pooled === null ? null : { ...pooled, parts: [] }, mask }
}

/** Places embeddings along the batch, each `count` times, in the order given: for guidance, the unconditional half comes first. */
export function batchPieces(embeddings: readonly Embedding[], count: number): Piece[] {
  return embeddings.flatMap(({ parts }, index) =>
    Array.from({ length: count }, (_, image) =>
      parts.map((part) => Object.assign({}, part, { at: [index * count + image, ...part.at] })),
    ).flat(),
  )
}

/** {@link batchPieces} on a device. Embeddings of different lengths are padded with zeros. */
export function assembleBatch(device: Device, embeddings: readonly Embedding[], count: number, owner: string): DeviceTensor {
  const dims = (embeddings[0]?.dims ?? []).map((_, axis) => Math.max(...embeddings.map((one) => one.dims[axis] ?? 0)))
  return device.assemble(batchPieces(embeddings, count), [embeddings.length * count, ...dims], owner)
}

/** The arguments of a family's `encodePrompt` besides the prompt. */
export interface EncodeCall {
  /** The denoiser's host, for which embeddings are made. */
  readonly next: ComponentHost
  /** Registers a tensor that is disposed when the condition has been put together. */
  readonly keep: Keep
  readonly run: Run
  /** How weights are written in the texts, and the number of chunks that every text is padded to. Absent: texts have no weights. */
  readonly weighting?: { readonly rule: PromptWeighting; readonly chunks: number } | undefined
}

export interface PromptConditionOptions {
  readonly denoiser: Network
  readonly host: ComponentHost
  /** The number of images of all prompts together. */
  readonly images: number
  readonly encode: (call: EncodeCall) => Promise<EncodedBatch>
  /** Makes the denoiser's inputs that stay from step to step. `prompts`: with guidance, the negative prompts come first. */
  readonly inputs: (device: Device, prompts: readonly EncodedPrompt[]) => Condition | Promise<Condition>
  readonly recorder: Recorder
  readonly run: Run
}

/** Encodes all prompts and makes the denoiser's condition from them, on its device. The caller disposes the condition's tensors. */
export async function promptCondition(options: PromptConditionOptions): Promise<Condition> {
  const { denoiser, host, encode, inputs, run } = options
  return withTemporary(async (keep) => {
    const prompts = await encode({ next: host, keep, run })
    await host.makeRoomFor(denoiser)
    await record(prompts, options)
    const { positive, negative } = prompts
    return inputs(host.device, [...(negative ?? []), ...positive])
  })
}

async function record(prompts: EncodedBatch, { recorder, host, images, denoiser }: PromptConditionOptions): Promise<void> {
  for (const [name, embeddings] of namedEmbeddings(prompts)) {
    if (!recorder.wants(name)) continue
    const count = images / embeddings.length
    await withTemporary(async (keep) => recorder.read(name, keep(assembleBatch(host.device, embeddings, count, denoiser.name))))
  }
}

/** The embeddings of all prompts by diffusers' names; kinds that the family does not have are left out. */
export function namedEmbeddings({ positive, negative }: EncodedBatch) {
  const all = [
    ['prompt_embeds', positive.map(({ embeds }) => embeds)],
    ['negative_prompt_embeds', (negative ?? []).map(({ embeds }) => embeds)],
    ['pooled_prompt_embeds', pooledOf(positive)],
    ['negative_pooled_prompt_embeds', pooledOf(negative ?? [])],
    ['prompt_attention_mask', masksOf(positive)],
    ['negative_prompt_attention_mask', masksOf(negative ?? [])],
  ] as const
  return all.filter(([, embeddings]) => embeddings.length > 0)
}

function pooledOf(prompts: readonly EncodedPrompt[]): readonly Embedding[] {
  return prompts.flatMap(({ pooled }) => pooled ?? [])
}

function masksOf(prompts: readonly EncodedPrompt[]): readonly Embedding[] {
  return prompts.flatMap(({ mask }) => mask ?? [])
}
