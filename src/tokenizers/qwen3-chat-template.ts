/**
 * Qwen3's chat template for what pipelines make of a prompt: one message of a user, and the beginning of the answer. It is a constant of the pipeline
 * class, not read from `chat_template` in tokenizer_config.json, which is a program in the language Jinja.
 */

/**
 * transformers' `apply_chat_template([{role: 'user', content: prompt}], add_generation_prompt=True, enable_thinking=…)` with the template that
 * Qwen3 was published with. Without thinking, the answer begins with an empty thought.
 */
export function qwen3Chat(prompt: string, { enableThinking }: { readonly enableThinking: boolean }): string {
  return `<|im_start|>user\n${prompt}<|im_end|>\n<|im_start|>assistant\n${enableThinking ? '' : '<think>\n\n</think>\n\n'}`
}
