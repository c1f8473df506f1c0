/**
 * Chat templates: programs in the language Jinja that are published with a language model's tokenizer and write a conversation as one
 * text. A pipeline class turns a prompt into a conversation: one message of a user, and the beginning of the answer.
 */

import { Template } from '@huggingface/jinja'
import { UnsupportedError } from '../errors.js'
import { settingsOf, type Chat, type ChatOptions, type TokenizerFiles } from './types.js'

/** The longest template, in characters. Qwen3's has 4,000. */
const maxTemplateLength = 200_000

/**
 * Returns a function that writes a prompt as a conversation: transformers' `apply_chat_template([{role: 'user', content: prompt}],
 * add_generation_prompt=True, enable_thinking=…)`. The template is in chat_template.jinja, or else in `chat_template` of the settings. If a
 * tokenizer has neither, the function uses the template that Qwen3 was published with; transformers fails.
 * @param roles the special tokens that a template may use, by role: `eos_token` and others
 * @throws UnsupportedError `tokenizer-model`
 */
export function readChat(files: TokenizerFiles, roles: Readonly<Record<string, string>>): Chat {
  const given = files.chatTemplate ?? settingsOf(files)['chat_template'] ?? null
  if (given === null) return qwen3Chat
  const source = defaultTemplate(given)
  if (source === undefined)
    return () => {
      throw unsupported(given, 'is neither a template nor a list with a template of the name "default"')
    }
  if (source.length > maxTemplateLength) throw unsupported(source, `has more than ${maxTemplateLength} characters`)
  const template = attempt(source, () => new Template(source))
  return (prompt, { enableThinking }) =>
    attempt(source, () =>
      template.render({
        ...roles,
        messages: [{ role: 'user', content: prompt }],
        tools: null,
        documents: null,
        add_generation_prompt: true,
        enable_thinking: enableThinking,
      }),
    )
}

/** The text that Qwen3's published template writes. Without thinking, the answer begins with an empty `<think>` element. */
function qwen3Chat(prompt: string, { enableThinking }: ChatOptions): string {
  return `<|im_start|>user\n${prompt}<|im_end|>\n<|im_start|>assistant\n${enableThinking ? '' : '<think>\n\n</think>\n\n'}`
}

/**
 * The template to use. A config has either one template, or several with names (a list of `{name, template}`, or an object). In the second
 * case, the template named `default` is used.
 */
function defaultTemplate(given: unknown): string | undefined {
  if (typeof given === 'string') return given
  const named: unknown[] = Array.isArray(given)
    ? given
    : Object.entries(Object(given)).map(([name, template]) => ({ name, template }))
  const found = named.find((item): item is { template: string } => {
    const { name, template } = Object(item) as Readonly<Record<string, unknown>>
    return name === 'default' && typeof template === 'string'
  })
  return found?.template
}

function attempt<T>(source: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw unsupported(source, `cannot be run: ${reason.slice(0, 200)}`)
  }
}

function unsupported(value: unknown, what: string): UnsupportedError {
  const key = 'chat_template'
  const shown = (typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).slice(0, 100)
  return new UnsupportedError('tokenizer-model', `${key} of the tokenizer ${what}. It begins with ${JSON.stringify(shown)}.`, {
    key,
    value: shown,
  })
}
