// Features of people by LiteRT's CompiledModel, of a file that `convert.py MODEL --input uint8` wrote.
// build.gradle.kts: implementation("com.google.ai.edge.litert:litert:2.3.0"), and litert-gpu:2.3.0 for the GPU.

import android.content.res.AssetManager
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** Computes features. `name` is the file among the assets of the app, height and width are those of its input. */
class Embedder(
    assets: AssetManager,
    name: String,
    private val height: Int = 256,
    private val width: Int = 128,
    accelerator: Accelerator = Accelerator.CPU,
) : AutoCloseable {
    private val model = CompiledModel.create(assets, name, CompiledModel.Options(accelerator))
    private val picture = model.createInputBuffer("picture", "embed")
    private val features = model.createOutputBuffer("features", "embed")

    /** The feature of a person. `person` is cropped from the frame, upright, of any size, and not of Config.HARDWARE. */
    fun feature(person: Bitmap): FloatArray {
        val pixels = IntArray(person.width * person.height)
        person.getPixels(pixels, 0, person.width, 0, 0, person.width, person.height)
        picture.writeInt8(resized(levels(pixels), person.height, person.width, height, width))
        model.run(mapOf("picture" to picture), mapOf("features" to features), "embed")
        val feature = features.readFloat()
        check(feature.all(Float::isFinite) && feature.any { it != 0f }) { "The features must be finite and not zero." }
        return feature
    }

    override fun close() = listOf(picture, features, model).forEach(AutoCloseable::close)
}

fun cosine(a: FloatArray, b: FloatArray): Float {
    var (ab, aa, bb) = listOf(0f, 0f, 0f)
    for (i in a.indices) {
        ab += a[i] * b[i]
        aa += a[i] * a[i]
        bb += b[i] * b[i]
    }
    return ab / sqrt(aa * bb)
}

/** Red, green and blue of pixels 0xAARRGGBB. */
fun levels(pixels: IntArray) = ByteArray(3 * pixels.size) { i -> (pixels[i / 3] shr 16 - 8 * (i % 3)).toByte() }

/** Bilinear resize of RGB levels, row by row, antialiased where it shrinks: equal to Pillow's. */
fun resized(levels: ByteArray, height: Int, width: Int, toHeight: Int, toWidth: Int): ByteArray {
    val narrow = ByteArray(height * toWidth * 3)
    for (row in 0 until height) resizeLine(levels, row * width * 3, width, narrow, row * toWidth * 3, toWidth, 3)
    val small = ByteArray(toHeight * toWidth * 3)
    for (column in 0 until toWidth) resizeLine(narrow, column * 3, height, small, column * 3, toHeight, toWidth * 3)
    return small
}

private const val BITS = 22 // of Pillow's fixed point

/** Resizes a line of pixels that are `step` bytes apart. */
private fun resizeLine(from: ByteArray, start: Int, size: Int, to: ByteArray, toStart: Int, toSize: Int, step: Int) {
    val scale = size.toDouble() / toSize
    val support = max(scale, 1.0)
    for (i in 0 until toSize) {
        val center = (i + 0.5) * scale
        val first = max((center - support + 0.5).toInt(), 0)
        val weights = DoubleArray(min((center + support + 0.5).toInt(), size) - first) {
            max(1 - abs((first + it - center + 0.5) / support), 0.0)
        }
        val sum = weights.sum()
        val whole = LongArray(weights.size) { (0.5 + weights[it] / sum * (1 shl BITS)).toLong() }
        for (channel in 0 until 3) {
            var level = 1L shl BITS - 1
            for (j in whole.indices) level += whole[j] * (from[start + (first + j) * step + channel].toInt() and 255)
            to[toStart + i * step + channel] = (level shr BITS).coerceIn(0, 255).toByte()
        }
    }
}
