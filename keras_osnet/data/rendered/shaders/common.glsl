// Shared by all programs: the frame's values, noise, light and tone.
layout(std140) uniform Frame {
    mat4 view_projection;
    mat4 light_matrix;
    vec4 eye;           // camera, metres
    vec4 sun_direction; // towards the light; w: 1 where the map of shadows is used
    vec4 sun_colour;    // w: gloss of the ground (wet or polished)
    vec4 sky_colour;    // w: exposure
    vec4 ground_colour; // w: haze per metre
    vec4 haze_colour;   // w: shape of the tone curve
    vec4 lamps[4];      // position (w: reach), colour, position, colour
    vec4 ray;           // direction to the image's corner; its step to the right and up, a pixel
    vec4 ray_right;
    vec4 ray_up;
    vec4 spheres[16];   // where the person hides the sky; w: radius
};
uniform sampler2DShadow shadows;

uniform sampler3D noises;

// Noise 0 .. 1 of two kinds; its period is 32.
vec2 noise_pair(vec3 x) {
    vec3 i = floor(x), f = x - i;
    return texture(noises, (i + f * f * (3.0 - 2.0 * f) + 0.5) / 32.0).rg;
}

float noise(vec3 x) { return noise_pair(x).r; }

float noise2(vec2 x) { return noise_pair(vec3(x, 4.5)).g; }

float hash2(vec2 p) {
    vec3 q = fract(vec3(p.xyx) * vec3(0.1031, 0.103, 0.0973));
    q += dot(q, q.yzx + 33.33);
    return fract((q.x + q.y) * q.z);
}

// How much of the sky a point sees past the person: spheres along the body (Quilez, "sphere occlusion").
float open_sky(vec3 p, vec3 n) {
    float hidden = 0.0;
    for (int k = 0; k < 16; k++) {
        vec3 d = spheres[k].xyz - p;
        float distance2 = max(dot(d, d), 1e-4), r = spheres[k].w;
        float facing = dot(n, d) * inversesqrt(distance2);
        hidden += clamp(facing, 0.0, 1.0) * r * r / distance2 * step(r * r * 0.8, distance2);
    }
    return 1.0 - min(hidden, 0.85);
}

float sunlight(vec3 p, vec3 n) {
    if (sun_direction.w < 0.5) return 1.0;
    vec4 q = light_matrix * vec4(p + n * 0.02, 1.0);
    vec3 c = q.xyz * 0.5 + 0.5;
    if (c.x < 0.0 || c.y < 0.0 || c.x > 1.0 || c.y > 1.0 || c.z > 1.0) return 1.0;
    return texture(shadows, vec3(c.xy, c.z - 0.004));
}

vec3 light_at(vec3 p, vec3 n, vec3 albedo, float gloss, float soft) {
    float sky = open_sky(p, n);
    vec3 light = mix(ground_colour.rgb, sky_colour.rgb, n.y * 0.5 + 0.5) * sky;
    float facing = (dot(n, sun_direction.xyz) + soft) / (1.0 + soft);
    vec3 to_eye = normalize(eye.xyz - p);
    float sun = max(facing, 0.0) * sunlight(p, n);
    light += sun_colour.rgb * sun;
    vec3 colour = albedo * light;
    if (gloss > 0.0) {
        vec3 half_way = normalize(to_eye + sun_direction.xyz);
        float rim = pow(1.0 - max(dot(n, to_eye), 0.0), 4.0);
        colour += gloss * (sun_colour.rgb * sun * pow(max(dot(n, half_way), 0.0), 24.0) * 1.5 + sky_colour.rgb * sky * (0.04 + 0.4 * rim));
    }
    if (lamps[1].r > 0.0) {
        for (int k = 0; k < 4; k += 2) {
            vec3 d = lamps[k].xyz - p;
            float fall = 1.0 / (1.0 + dot(d, d) / (lamps[k].w * lamps[k].w));
            colour += albedo * lamps[k + 1].rgb * fall * fall * max(dot(n, normalize(d)) * 0.9 + 0.1, 0.0) * (0.5 + 0.5 * sky);
        }
    }
    return colour;
}

vec3 tone(vec3 colour, vec3 p) {
    float haze = 1.0 - exp(-ground_colour.w * distance(eye.xyz, p));
    colour = mix(colour, haze_colour.rgb, haze) * sky_colour.w;
    // A soft shoulder keeps bright parts from clipping at once, as cameras do; then the sRGB curve, nearly.
    vec3 shouldered = colour * (1.0 + colour / (haze_colour.w * haze_colour.w)) / (1.0 + colour);
    return pow(clamp(mix(colour, shouldered, 0.75), 0.0, 1.0), vec3(1.0 / 2.2));
}
