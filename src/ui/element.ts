/** The `aquatint/element` entry: defines `<aquatint-prompt>`, once per page. */

import { AquatintPrompt } from './prompt/aquatint-prompt.js'

export { AquatintPrompt }
export type { FormControl } from './prompt/form-control.js'
export type { ImageDetail } from './prompt/image-detail.js'
export type { ModelOption } from './prompt/form/model-field.js'
export type { PromptSettings } from './parts/settings.js'
export type { LoraSetting } from './parts/lora-settings.js'
export type { AquatintPromptEvents } from './prompt/prompt-events.js'
export type { RunnerState } from './prompt/runner.js'

if (customElements.get('aquatint-prompt') === undefined) customElements.define('aquatint-prompt', AquatintPrompt)

declare global {
  interface HTMLElementTagNameMap {
    'aquatint-prompt': AquatintPrompt
  }
}
