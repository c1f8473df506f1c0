/** The source of a consumer's page: it uses what the package exports, so that its types are checked, and gives specs functions to call. */

/** The size of the pictures. */
export const size = 32

/** The source of the page's module, in TypeScript. */
export const main = `
import { DiffusionPipeline, HubError, isAquatintError, type PipelineProgress } from 'aquatint'
import { AquatintPrompt, type ImageDetail } from 'aquatint/element'

const box: AquatintPrompt = document.createElement('aquatint-prompt')
box.addEventListener('image', ({ detail }) => console.log((detail satisfies ImageDetail).seed))

Object.assign(window, {
  async make(repo: string, endpoint: string): Promise<number[]> {
    const phases: PipelineProgress['type'][] = []
    await using pipeline = await DiffusionPipeline.fromPretrained(repo, { endpoint, device: 'wasm', onProgress: ({ type }) => phases.push(type) })
    const { images } = await pipeline.generate('a red apple', { seed: 7, numInferenceSteps: 2, width: ${size}, height: ${size} })
    return [...(images[0]?.data ?? [])]
  },
  async refuse(endpoint: string): Promise<string> {
    try {
      await DiffusionPipeline.fromPretrained('nobody/nothing', { endpoint })
      return 'loaded'
    } catch (error) {
      return isAquatintError(error) && error instanceof HubError ? error.code : String(error)
    }
  },
  element: () => box instanceof AquatintPrompt && customElements.get('aquatint-prompt') === AquatintPrompt,
})
`
