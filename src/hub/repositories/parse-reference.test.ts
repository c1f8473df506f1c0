/** What names and addresses mean, as people type and paste them, and what the errors say about those that name no model. */

import { describe, expect, it } from 'vitest'
import { parseReference, type Named } from './parse-reference.js'

const hub = 'https://huggingface.co/'
const mirror = 'https://mirror.example/hub/'
const page = 'https://page.org/app/'

/** What `parseReference` returns, in short: `owner/name`, `@revision`, `:folder`, and the endpoint where it is another one. */
function inShort(named: Named, endpoint: string): string {
  if ('base' in named) return named.base
  const { id, revision, folder } = named
  const at = named.endpoint === endpoint ? '' : ` on ${named.endpoint}`
  return `${id}${revision === undefined ? '' : `@${revision}`}${folder === undefined ? '' : `:${folder}`}${at}`
}
const parse = (reference: string, endpoint = hub) => inShort(parseReference(reference, endpoint, page), endpoint)

describe('a repository of the Hub', () => {
  it.each([
    // Ids.
    ['a/b', 'a/b'],
    [' a/b ', 'a/b'],
    ['a/b/', 'a/b'],
    ['"a/b"', 'a/b'],
    ["'a/b',", 'a/b'],
    ['`a/b`', 'a/b'],
    ['<a/b>', 'a/b'],
    ['a/b\n', 'a/b'],
    ['a/\nb', 'a/b'],
    ['\u200ba/b\ufeff', 'a/b'],
    ['a/b.', 'a/b'],
    ['a/b.git', 'a/b'],
    ['a/b?library=diffusers', 'a/b'],
    ['a/b#usage', 'a/b'],
    ['a/b?revision=fp16', 'a/b@fp16'],
    ['a/b?library=diffusers&revision=refs%2Fpr%2F1#usage', 'a/b@refs/pr/1'],
    ['a/b?revision=', 'a/b'],
    ['a/b@v1?revision=v1', 'a/b@v1'],
    ['https://huggingface.co/a/b?revision=fp16', 'a/b@fp16'],
    ['https://huggingface.co/a/b/tree/v1/unet?revision=v1', 'a/b@v1:unet'],
    ['hf://a/b/unet?revision=v1', 'a/b@v1:unet'],
    // huggingface_hub reads a slash after the revision as the beginning of a path too.
    ['a/b@feature/x', 'a/b@feature:x'],
    ['a/b@feature%2Fx', 'a/b@feature/x'],
    ['hf://a/b@feature%2Fx/unet', 'a/b@feature/x:unet'],
    ['a/b@fp16', 'a/b@fp16'],
    ['a/b@refs/pr/1', 'a/b@refs/pr/1'],
    ['a/b@', 'a/b'],
    ['a/b@main/unet', 'a/b@main:unet'],
    ['a/b/tree/main/unet', 'a/b@main:unet'],
    ['api/b', 'api/b'],
    ['models/b', 'models/b'],
    // Hosts.
    ['https://huggingface.co/a/b', 'a/b'],
    ['http://huggingface.co/a/b', 'a/b'],
    ['https://www.huggingface.co/a/b', 'a/b'],
    ['HTTPS://HuggingFace.co/a/b', 'a/b'],
    ['https://hf.co/a/b', 'a/b'],
    ['http://www.hf.co/a/b/', 'a/b'],
    ['huggingface.co/a/b', 'a/b'],
    ['hf.co/a/b', 'a/b'],
    ['www.huggingface.co/a/b/tree/main', 'a/b@main'],
    ['hf://a/b', 'a/b'],
    ['hf://a/b@v1/unet', 'a/b@v1:unet'],
    ['hf://models/a/b', 'a/b'],
    ['hf://a/b/unet', 'a/b:unet'],
    ['hf://a/b/unet/config.json', 'a/b:unet'],
    ['https://huggingface.com/a/b', 'a/b'],
    ['https:\\\\huggingface.co\\a\\b', 'a/b'],
    ['git@hf.co:a/b', 'a/b'],
    ['ssh://git@hf.co/a/b.git', 'a/b'],
    ['git clone https://huggingface.co/a/b', 'a/b'],
    // Pages.
    ['https://huggingface.co/a/b.git', 'a/b'],
    ['https://huggingface.co/a/b?not-for-all-audiences=true#x', 'a/b'],
    ['https://huggingface.co/a/b/tree/main', 'a/b@main'],
    ['https://huggingface.co/a/b/tree/main/', 'a/b@main'],
    ['https://huggingface.co/a/b/tree/main/unet', 'a/b@main:unet'],
    ['https://huggingface.co/a/b/tree/main/deep%20er/unet', 'a/b@main:deep er/unet'],
    ['https://huggingface.co/a/b/tree/main/unet/config.json', 'a/b@main:unet'],
    ['https://huggingface.co/a/b/tree/main/model.v1', 'a/b@main:model.v1'],
    ['https://huggingface.co/a/b/tree/refs%2Fpr%2F1', 'a/b@refs/pr/1'],
    ['https://huggingface.co/a/b/tree/refs/pr/1/unet', 'a/b@refs/pr/1:unet'],
    ['https://huggingface.co/a/b/blob/main/model_index.json', 'a/b@main'],
    ['https://huggingface.co/a/b/blob/fp16/unet/config.json', 'a/b@fp16:unet'],
    ['https://huggingface.co/a/b/resolve/main/', 'a/b@main'],
    ['https://huggingface.co/a/b/resolve/main/model_index.json?download=true', 'a/b@main'],
    ['https://huggingface.co/a/b/resolve/main/vae/diffusion_pytorch_model.fp16.safetensors', 'a/b@main:vae'],
    ['https://huggingface.co/a/b/raw/v1.0/README.md', 'a/b@v1.0'],
    [
      'https://huggingface.co/a/b/commit/0123456789012345678901234567890123456789',
      'a/b@0123456789012345678901234567890123456789',
    ],
    ['https://huggingface.co/a/b/commits/main', 'a/b@main'],
    ['https://huggingface.co/a/b/discussions/3', 'a/b'],
    ['https://huggingface.co/a/b/settings', 'a/b'],
    ['https://huggingface.co/api/models/a/b/revision/main', 'a/b'],
    ['[a model](https://huggingface.co/a/b/tree/main)', 'a/b@main'],
    ['<https://huggingface.co/a/b>', 'a/b'],
    ['https://huggingface.co/a/b).', 'a/b'],
    ['https://hugging\nface.co/a/b', 'a/b'],
    // Text that people paste together with a name or an address.
    ['hf download a/b', 'a/b'],
    ['huggingface-cli download a/b --revision fp16 --local-dir x', 'a/b@fp16'],
    ['git lfs clone https://huggingface.co/a/b', 'a/b'],
    ['$ git clone --depth 1 https://huggingface.co/a/b', 'a/b'],
    ['ollama run hf.co/a/b', 'a/b'],
    ['pipe = DiffusionPipeline.from_pretrained("a/b", torch_dtype=torch.float16)', 'a/b'],
    ["from_pretrained('a/b')", 'a/b'],
    ["DiffusionPipeline.from_pretrained('a/b', revision='v1', variant='fp16')", 'a/b@v1'],
    ["X.from_pretrained('https://huggingface.co/a/b/tree/x', revision='v1')", 'a/b@x'],
    ['git clone -b fp16 https://huggingface.co/a/b', 'a/b@fp16'],
    ['!git clone https://huggingface.co/a/b', 'a/b'],
    ['uv run hf download a/b', 'a/b'],
    ['wget https://huggingface.co/a/b/resolve/main/model_index.json', 'a/b@main'],
    ['curl -L "https://huggingface.co/a/b/resolve/v1/unet/config.json" -o x', 'a/b@v1:unet'],
    ['see https://huggingface.co/a/b/tree/v1.', 'a/b@v1'],
    ['[a/b](https://huggingface.co/a/b) is great', 'a/b'],
    ['a/b · Hugging Face', 'a/b'],
    ['repo_id="a/b"', 'a/b'],
    ['"pretrained_model_name_or_path": "a/b",', 'a/b'],
    ['model: a/b', 'a/b'],
    ['**a/b**', 'a/b'],
    ['> a/b', 'a/b'],
    ['- a/b', 'a/b'],
    ['1. a/b', 'a/b'],
    ['“a/b”', 'a/b'],
    ['«a/b»', 'a/b'],
    ['a/b…', 'a/b'],
    ['a / b', 'a/b'],
    ['a%2Fb', 'a/b'],
    ['https://huggingface.co/a%2Fb', 'a/b'],
    ['https://huggingface.co/a/b%20', 'a/b'],
    ['models--a--b', 'a/b'],
    ['models--a--b/snapshots/0123456789012345678901234567890123456789', 'a/b@0123456789012345678901234567890123456789'],
    ['view-source:https://huggingface.co/a/b', 'a/b'],
    ['git+https://huggingface.co/a/b', 'a/b'],
    // Typing errors.
    ['//huggingface.co/a/b', 'a/b'],
    ['https:/huggingface.co/a/b', 'a/b'],
    ['https//hf.co/a/b', 'a/b'],
    ['ttps://hf.co/a/b', 'a/b'],
    ['https://https://huggingface.co/a/b', 'a/b'],
    ['https://huggingface.co//a//b/tree/main//unet', 'a/b@main:unet'],
    ['https://huggingface.co./a/b', 'a/b'],
    ['https://huggingface.co:443/a/b', 'a/b'],
    // Other sites that lead to the Hub.
    ['https://www.google.com/url?q=https://huggingface.co/a/b&sa=D', 'a/b'],
    ['https://l.example/?u=https%3A%2F%2Fhuggingface.co%2Fa%2Fb%2Ftree%2Fmain', 'a/b@main'],
    ['https://web.archive.org/web/2023/https://huggingface.co/a/b', 'a/b'],
    ['https://api-inference.huggingface.co/models/a/b', 'a/b'],
    // Mirrors.
    ['https://hf-mirror.com/a/b/tree/main/vae', 'a/b@main:vae on https://hf-mirror.com/'],
    ['hf-mirror.com/a/b', 'a/b on https://hf-mirror.com/'],
  ])('is meant by %j', (reference, meant) => expect(parse(reference)).toBe(meant))

  it.each([
    ['a/b', 'a/b'],
    ['https://mirror.example/hub/a/b', 'a/b'],
    ['http://www.mirror.example/hub/a/b/blob/main/unet/config.json', 'a/b@main:unet'],
    ['mirror.example/hub/a/b', 'a/b'],
    // With a mirror as the endpoint, the address of a page on the Hub names the repository with the same id on the mirror.
    ['https://huggingface.co/a/b/tree/v1', 'a/b@v1'],
    // Any other path on the mirror's host is a folder of files.
    ['https://mirror.example/hub/static/a/b', 'https://mirror.example/hub/static/a/b/'],
    ['https://mirror.example/a/b', 'https://mirror.example/a/b/'],
  ])('is meant by %j with a mirror as endpoint', (reference, meant) => expect(parse(reference, mirror)).toBe(meant))
})

describe('a folder on a web server', () => {
  it.each([
    ['https://x.org/a/b', 'https://x.org/a/b/'],
    ['https://x.org/a/b/?v=1#c', 'https://x.org/a/b/'],
    ['http://localhost:8000', 'http://localhost:8000/'],
    ['"https://x.org/a/b/",', 'https://x.org/a/b/'],
    ['https://x.org/a/tree/main', 'https://x.org/a/tree/main/'],
    ['https://x.org/m/model_index.json', 'https://x.org/m/'],
    ['https://x.org/m/model_index.json?raw=1', 'https://x.org/m/'],
    ['https://x.org/m/files.json', 'https://x.org/m/'],
    ['https://x.org/m/vae/config.json', 'https://x.org/m/vae/'],
    ['https://x.org/m/index.html', 'https://x.org/m/'],
    ['https://x.org/m/unet/diffusion_pytorch_model.safetensors.index.fp16.json', 'https://x.org/m/unet/'],
    ['https://github.com/a/b/raw/main/m', 'https://github.com/a/b/raw/main/m/'],
    ['./m', 'https://page.org/app/m/'],
    [' ./m\n', 'https://page.org/app/m/'],
    ['./m/model_index.json', 'https://page.org/app/m/'],
    ['./m@2', 'https://page.org/app/m@2/'],
    ['/m', 'https://page.org/m/'],
    ['../m', 'https://page.org/m/'],
    ['.', 'https://page.org/app/'],
    ['..', 'https://page.org/'],
  ])('is meant by %j', (reference, meant) => expect(parse(reference)).toBe(meant))
})

describe('a text that names no model is refused with the reason', () => {
  it.each([
    [
      'my-model',
      'bad-repository-id',
      '"my-model" has no owner: a model of the Hub is written as owner/name. The path of a folder on the page\'s own server begins with "./", such as "./my-model".',
    ],
    ['', 'bad-repository-id', 'names no model'],
    [' "" ', 'bad-repository-id', 'names no model'],
    ['https://huggingface.co/', 'bad-repository-id', 'names no model'],
    ['https://huggingface.co/stabilityai', 'bad-repository-id', 'is written as owner/name'],
    ['https://huggingface.co/models?pipeline_tag=text-to-image', 'bad-repository-id', 'is a list of models'],
    ['datasets/a/b', 'bad-repository-id', 'is a data set. Give a model, written as owner/name'],
    ['https://huggingface.co/datasets/a/b', 'bad-repository-id', 'is a data set'],
    ['hf://datasets/a/b', 'bad-repository-id', 'is a data set'],
    ['https://hf.co/spaces/a/b', 'bad-repository-id', 'is a Space'],
    ['https://huggingface.co/collections/a/b-123', 'bad-repository-id', 'is a collection'],
    ['https://huggingface.co/learn/cookbook', 'bad-repository-id', 'is a course'],
    ['huggingface.co/stabilityai', 'bad-repository-id', 'is written as owner/name'],
    ['https://a-b.hf.space', 'bad-url', 'is a Space. Give a model of the Hub, written as owner/name'],
    ['https://cdn-lfs-us-1.hf.co/repos/1/2?Signature=secret', 'bad-url', 'which expires'],
    ['https://github.com/a/b/blob/main/model_index.json', 'bad-url', 'is a page of GitHub'],
    ['https://civitai.com/models/123?modelVersionId=1', 'bad-url', 'is a page of Civitai'],
    ['https://modelscope.cn/models/a/b', 'bad-url', 'is a page of ModelScope'],
    ['https://drive.google.com/file/d/1/view', 'bad-url', 'Google Drive'],
    ['a/b/c', 'bad-repository-id', 'has more parts than a repository id'],
    [
      'models/my/model',
      'bad-repository-id',
      'A path on the page\'s own server begins with "./", the address of another host with "https://"',
    ],
    ['a b/c', 'bad-repository-id', 'is not a repository id'],
    ['a/b--c', 'bad-repository-id', 'is not a repository id'],
    ['C:\\models\\x', 'bad-repository-id', 'is a path on a disk'],
    ['\\\\server\\x', 'bad-repository-id', 'is a path on a disk'],
    ['.\\x', 'bad-repository-id', 'is a path on a disk'],
    ['~/models/x', 'bad-repository-id', 'is a path on a disk'],
    ['file:///home/me/x', 'bad-repository-id', 'is a path on a disk'],
    ['localhost:8000/x', 'bad-url', 'begin it with "http://"'],
    ['ftp://x.org/y', 'bad-url', 'is not an http or https URL'],
    ['data:,x', 'bad-url', 'holds no folder'],
    ['https://me:secret@x.org/y', 'bad-url', 'user name or password'],
    ['https://x.org/model.safetensors?token=secret', 'bad-url', 'is the address of one file'],
    ['a/b@x..y', 'bad-revision', '"x..y"'],
    ['a/b?revision=x..y', 'bad-revision', '"x..y"'],
    ['a/b@v1?token=secret&revision=v2', 'bad-revision', 'names the revision "v1", and its query "v2". Give one of them'],
    ['https://huggingface.co/a/b/tree/%E0%A4%A', 'bad-revision', '%E0%A4%A'],
  ])('%j', (reference, code, words) => {
    const thrown = (() => {
      try {
        return parse(reference)
      } catch (error) {
        return error as Error
      }
    })()
    expect(thrown).toMatchObject({ name: 'InputError', code })
    expect((thrown as Error).message).toContain(words)
    expect((thrown as Error).message).not.toContain('secret')
  })
})
