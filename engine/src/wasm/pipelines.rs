//! Pipelines side by side: `createComputePipelineAsync`, which wgpu has no name for.
//!
//! A browser compiles one pipeline after another where they are asked for synchronously. Here all are
//! asked for at once; when wgpu then wants one of them, it is given what was made. Chrome would find
//! it in its own cache; Firefox has none and compiles one after another in any case.

use crate::device::{Makers, Recipe};
use serde::Serialize;
use shaders::Space;
use std::pin::Pin;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(inline_js = r#"
// By the text of the shader, which says all: every pipeline is made of `main` and a layout that
// follows from the text.
const made = new Map();
const texts = new WeakMap();
let device = null;

// wgpu goes through the same functions as everyone: what it asks for is looked up first.
export function look_up_pipelines() {
    if (GPUDevice.prototype.createShaderModule.looksUp) return;
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (descriptor) {
        made.clear();
        return device = await request.call(this, descriptor);
    };
    GPUAdapter.prototype.requestDevice.asksForSubgroups = request.asksForSubgroups;
    const module = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
        const it = module.call(this, descriptor);
        texts.set(it, descriptor.code);
        return it;
    };
    GPUDevice.prototype.createShaderModule.looksUp = true;
    const pipeline = GPUDevice.prototype.createComputePipeline;
    GPUDevice.prototype.createComputePipeline = function (descriptor) {
        const known = this === device && made.get(texts.get(descriptor.compute.module));
        return known || pipeline.call(this, descriptor);
    };
}

// What fails is left out: wgpu asks again and hears why. The scope keeps the failure from those who
// listen for errors that nobody expects.
export async function make_pipelines(recipes) {
    const make = async ({ label, text, bindings }) => {
        const entries = bindings.map(([binding, type]) => (
            { binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } }
        ));
        const layout = device.createPipelineLayout({
            label, bindGroupLayouts: [device.createBindGroupLayout({ label, entries })],
        });
        const module = device.createShaderModule({ label, code: text });
        const compute = { module, entryPoint: "main" };
        try {
            made.set(text, await device.createComputePipelineAsync({ label, layout, compute }));
        } catch {}
    };
    device.pushErrorScope("validation");
    const all = JSON.parse(recipes).map(make);
    const scope = device.popErrorScope();
    await Promise.all(all);
    await scope;
}
"#)]
extern "C" {
    pub(super) fn look_up_pipelines();
    async fn make_pipelines(recipes: &str);
}

/// Makes pipelines with the browser's own device.
pub(super) struct SideBySide;

/// A recipe in JavaScript's words.
#[derive(Serialize)]
struct Wanted<'a> {
    label: &'a str,
    text: &'a str,
    bindings: Vec<(u32, &'static str)>,
}

impl Makers for SideBySide {
    fn make(&self, recipes: Vec<Recipe>) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        let word = |space| match space {
            Space::Uniform => "uniform",
            Space::Read => "read-only-storage",
            Space::ReadWrite => "storage",
        };
        let wanted: Vec<Wanted<'_>> = recipes
            .iter()
            .map(|Recipe { label, text, bindings }| Wanted {
                label,
                text,
                bindings: bindings.iter().map(|(at, space)| (*at, word(*space))).collect(),
            })
            .collect();
        let text = serde_json::to_string(&wanted).unwrap_or_default();
        Box::pin(async move { make_pipelines(&text).await })
    }
}
