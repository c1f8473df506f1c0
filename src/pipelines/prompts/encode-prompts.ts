/** Prompts as embeddings in host memory, without a generation: diffusers' `encode_prompt`. */

import type { DenoiserModel, Extent } from '../../models/types.js'
import type { Network } from '../bind-network.js'
import { reportingMemory, type DeviceHosts } from '../execution/device-hosts.js'
import { failuresOf } from '../execution/recovery.js'
import { generationSize } from '../planning/memory-needs.js'
import type { Run } from '../run.js'
import { withTemporary } from '../tensors.js'
import type { EncodePromptOptions, PlainTensor, PromptEmbeddings } from '../types.js'
import { assembleBatch, namedEmbeddings, type EncodeCall, type EncodedBatch } from './prompt-embeds.js'

/** The arguments of {@link encodePrompts}. */
export interface EncodeRequest {
  readonly encode: (call: EncodeCall) => Promise<EncodedBatch>
  /** Whether the negative prompts are encoded too. */
  readonly guided: boolean
  readonly denoiser: Network<DenoiserModel>
  readonly hosts: DeviceHosts
  readonly run: Run
  /** The latent size of an image of the model's own size. Memory is planned as if such an image were generated. */
  readonly size: Extent
  readonly options: EncodePromptOptions
}

const optionNames = {
  prompt_embeds: 'promptEmbeds',
  negative_prompt_embeds: 'negativePromptEmbeds',
  pooled_prompt_embeds: 'pooledPromptEmbeds',
  negative_pooled_prompt_embeds: 'negativePooledPromptEmbeds',
  prompt_attention_mask: 'promptAttentionMask',
  negative_prompt_attention_mask: 'negativePromptAttentionMask',
} as const

/** Encodes the prompts of a batch. The result can be spread into the options of a generation. @throws DeviceError, CheckpointError, AbortError */
export function encodePrompts(request: EncodeRequest): Promise<PromptEmbeddings> {
  const { encode, guided, denoiser, hosts, run, size, options } = request
  const host = hosts.of(denoiser.name)
  return reportingMemory(hosts, run, async () => {
    try {
      await hosts.fit(generationSize(size, options, guided, false), run)
      run.status('encoding')
      const work = () =>
        withTemporary(async (keep) => {
          const encoded = await encode({ next: host, keep, run })
          const result: Partial<Record<(typeof optionNames)[keyof typeof optionNames], PlainTensor>> = {}
          for (const [name, embeddings] of namedEmbeddings(encoded)) {
            const tensor = keep(assembleBatch(host.device, embeddings, 1, denoiser.name))
            result[optionNames[name]] = { dims: tensor.dims, data: await tensor.read() }
          }
          return result
        })
      const result = await hosts.recovery.retrying(run, () => failuresOf({ host, network: denoiser }, work))
      run.status('complete')
      return result
    } finally {
      await hosts.settle()
    }
  })
}
