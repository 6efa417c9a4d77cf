// What Embedder.kt uses of LiteRT 2.3's Kotlin API. A run copies the levels of the first pixels to the features.
package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

class TensorBuffer : AutoCloseable {
    var bytes = ByteArray(0)

    fun writeInt8(data: ByteArray) { bytes = data }

    fun readFloat() = FloatArray(512) { (bytes[it].toInt() and 255).toFloat() }

    override fun close() {}
}

class CompiledModel private constructor() : AutoCloseable {
    class Options(vararg val accelerators: Accelerator)

    fun createInputBuffer(inputName: String, signature: String? = null) = TensorBuffer()

    fun createOutputBuffer(outputName: String, signature: String? = null) = TensorBuffer()

    fun run(inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String? = null) {
        check(signature == "embed")
        outputs.getValue("features").bytes = inputs.getValue("picture").bytes
    }

    override fun close() {}

    companion object {
        fun create(assets: AssetManager, name: String, options: Options) = CompiledModel()
    }
}
