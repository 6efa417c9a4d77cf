// Second pass: the colour of each pixel of one person.
uniform float slot;
uniform sampler2D normals_and_layers;
uniform sampler2D rests_and_depths;
uniform sampler2D surfaces;
uniform sampler2DArray patterns;
uniform sampler2DArray prints;
out vec4 fragment;

vec3 bumped(vec3 n, vec3 position, float height) {
    vec3 dx = dFdx(position), dy = dFdy(position);
    vec3 a = cross(dy, n), b = cross(n, dx);
    float det = dot(dx, a);
    return normalize(abs(det) * n - sign(det) * (dFdx(height) * a + dFdy(height) * b));
}

vec3 skin_colour(vec3 base, vec3 rest, float limb, int layer) {
    vec3 lips_and_brows = row(1, layer).rgb;
    vec3 p = vec3(abs(rest.x), rest.yz);
    vec3 colour = base * (0.93 + 0.14 * noise(rest * 30.0));
    if (p.y > 0.6 && p.z > 0.05 && limb < 0.5) {
        vec4 beard = row(4, layer);
        float brow = smoothstep(0.007, 0.002, abs(p.y - 0.752 + 0.2 * abs(p.x - 0.03))) * smoothstep(0.026, 0.02, abs(p.x - 0.033));
        float eye = smoothstep(1.0, 0.6, length((p.xy - vec2(0.032, 0.73)) / vec2(0.016, 0.008)));
        float lips = smoothstep(1.0, 0.7, length((p.xy - vec2(0.0, 0.661)) / vec2(0.026, 0.009)));
        float socket = smoothstep(1.4, 0.4, length((p.xy - vec2(0.032, 0.735)) / vec2(0.03, 0.02)));
        float chin = smoothstep(0.69, 0.66, p.y + 0.35 * max(0.06 - p.x, 0.0) * 0.3) * (1.0 - lips) * smoothstep(0.05, 0.08, p.z);
        colour *= 1.0 - 0.25 * socket;
        colour = mix(colour, beard.rgb, beard.w * chin * (0.75 + 0.5 * noise(rest * 150.0)));
        colour = mix(colour, lips_and_brows * base * vec3(1.0, 0.6, 0.6), 0.6 * lips);
        colour = mix(colour, row(2, layer).rgb, 0.8 * brow);
        colour = mix(colour, vec3(0.02), 0.85 * eye);
    }
    return colour;
}

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    vec4 first = texelFetch(normals_and_layers, pixel, 0), second_ = texelFetch(rests_and_depths, pixel, 0);
    vec4 place = texelFetch(surfaces, pixel, 0);
    int layer = int(first.w - 64.0 * slot + 0.5);
    if (first.w < 64.0 * slot - 0.5 || layer >= 64) discard;
    vec3 n = normalize(first.xyz), rest = second_.xyz;
    vec3 position = eye.xyz + (ray.xyz + ray_right.xyz * gl_FragCoord.x + ray_up.xyz * gl_FragCoord.y) * second_.w;
    float angle = place.x, h = place.y, along = place.z, limb = place.w;
    int material = int(row(0, layer).w + 0.5);
    float seed = row(5, layer).w;
    bool arm = limb > 0.5, leg = limb < -0.5, before = abs(angle) < 1.5708;
    vec3 colour = row(0, layer).rgb;
    float gloss = row(5, layer).z, soft = 0.15;
    vec4 limits = row(3, layer), front = row(4, layer), wrinkle = row(5, layer), split = row(6, layer), logo = row(7, layer), strap = row(8, layer), trim = row(9, layer);
    float gradient = material == CLOTH ? row(10, layer).x : 0.0;

    if (material == SKIN) {
        colour = skin_colour(colour, rest, limb, layer);
        float sock = limits.w;
        if (leg && along > sock) colour = strap.rgb * (0.9 + 0.2 * noise(rest * 200.0));
        soft = 0.3;
    }
    if (material == CLOTH || material == SHOE) {
        vec2 uv = vec2(angle * (arm ? 0.05 : leg ? 0.08 : 0.16), h);
        vec2 inked = texture(patterns, vec3(uv / row(2, layer).w / 8.0 + seed * 3.7, row(1, layer).w)).rg;
        float second = inked.x, third = inked.y;
        if (gradient > 0.0) second = clamp((h - 0.3) / gradient + 0.5, 0.0, 1.0);
        int divided = int(split.y + 0.5);
        if (divided == 1 && !arm && h > split.x) second = 1.0 - second;
        if (divided == 2 && h < split.x) second = 1.0 - second;
        if (divided == 3 && rest.x > 0.0) second = 1.0 - second;
        if (divided == 4 && !arm && abs(h - split.x) < split.z) second = 1.0 - second;
        if (divided == 5 && !arm && abs(abs(angle) - 1.57) < 0.45) second = 1.0 - second;
        if (divided == 6 && arm) second = 1.0 - second;
        if (divided == 7 && h > split.x - 0.9 * abs(rest.x)) second = 1.0 - second;
        if (divided == 8 && abs(rest.x) < split.z && !arm) second = 1.0 - second;
        colour = mix(colour, row(1, layer).rgb, clamp(second, 0.0, 1.0));
        colour = mix(colour, row(2, layer).rgb, clamp(third, 0.0, 1.0));
        // Stripes down the outer side of sleeves and trousers.
        if (split.w > 0.0 && (arm || leg || material == CLOTH && h < 0.1)) {
            float outer = arm ? abs(angle - sign(rest.x) * 1.57) * 0.05 : abs(angle - sign(rest.x) * 1.57) * 0.08;
            if (outer < split.w) colour = row(2, layer).rgb;
        }
        // Faded thighs of worn denim.
        if (trim.y > 0.0) colour *= 1.0 + trim.y * (smoothstep(0.9, 0.2, abs(angle)) * smoothstep(0.75, 0.3, along) - 0.35);
        float back = sign(logo.w);
        vec2 p = (vec2(rest.x * back, h) - logo.xy) / logo.z;
        vec2 print = texture(prints, vec3(p * 0.5 + 0.5, abs(logo.w) - 1.0)).rg;
        if (abs(logo.w) > 0.5 && !arm && !leg && (before ? back : -back) > 0.0 && max(abs(p.x), abs(p.y)) < 1.0)
            colour = mix(colour, mix(row(2, layer).rgb, row(1, layer).rgb, print.y), print.x);
        // Edges: collar, cuffs and hem in another colour.
        float edge = min(min(arm ? limits.z - along : 1.0, trim.x > 0.0 ? (h - limits.x) * 3.0 : 1.0), leg ? limits.w - along : 1.0);
        if (edge < abs(trim.x) * 0.16) colour = row(2, layer).rgb;
        if (trim.z > 0.0 && !arm && abs(h - trim.z) < 0.02) colour = row(2, layer).rgb * 0.8;
        // A zip, buttons, or the edges of an open front.
        float gap = mix(front.z, front.w, clamp((h - limits.x) / max(0.52 - limits.x, 0.05), 0.0, 1.0));
        if (trim.w > 0.0 && before && !arm && !leg && abs(rest.x) < gap + 0.008) colour *= trim.w;
        if (strap.w > 0.5 && !arm && !leg) {
            float x = rest.x, y = h;
            bool on = strap.w < 1.5 ? abs(angle) < 1.8 && abs(abs(x) - 0.085 - 0.03 * (0.5 - y)) < 0.021 && y > 0.22
                    : abs(x - (strap.w < 2.5 ? 1.0 : -1.0) * (y - 0.28) * 0.42) < 0.02 && y > 0.08;
            if (on) { colour = strap.rgb; gloss = 0.15; }
        }
        // Folds: few and slanting on the torso, lying across limbs where they bend and where cloth is too long.
        float slant = arm || leg ? 0.0 : 0.7 * rest.x * sign(seed - 0.5) + 0.5 * abs(rest.x);
        vec3 q = vec3(rest.x * 0.55, rest.y + slant, rest.z * 0.55) / wrinkle.y + seed * 9.0;
        q += 0.9 * noise(q * 0.35 + 3.0);
        float coarse = noise(q), fine = noise(q * vec3(2.6, 2.0, 2.6) + 5.0);
        float bend = leg ? 0.25 + 1.0 * smoothstep(0.16, 0.0, abs(along - 0.52)) + smoothstep(0.72, 1.0, along) + 0.8 * smoothstep(0.14, 0.0, along)
                   : arm ? 0.45 + 1.0 * smoothstep(0.22, 0.0, abs(along - 0.55)) : 0.4 + 0.7 * smoothstep(0.4, 0.1, h);
        float fold = wrinkle.x * bend * (coarse * coarse + 0.22 * fine);
        n = bumped(n, position, fold * wrinkle.y);
        colour *= 1.0 + min(wrinkle.x * bend, 0.7) * (0.55 * coarse - 0.3) + 0.05 * (fine - 0.5);
        if (material == SHOE) {
            float sole = rest.y + 0.818;
            if (sole < split.x) colour = row(1, layer).rgb;
            gloss = max(gloss, 0.1);
        }
    }
    if (material == HAIR) {
        vec3 q = rest * vec3(160.0, 12.0, 160.0);
        float strands = noise(q + seed);
        colour *= 0.55 + 0.75 * strands;
        n = bumped(n, position, 0.004 * strands);
        gloss = 0.12;
    }
    if (material == PLAIN) {
        vec2 inked = texture(patterns, vec3((rest.xy + rest.z) / row(2, layer).w / 8.0 + seed * 3.7, row(1, layer).w)).rg;
        colour = mix(mix(colour, row(1, layer).rgb, inked.x), row(2, layer).rgb, inked.y) * (0.85 + 0.3 * noise(rest * 14.0 + seed));
        n = bumped(n, position, wrinkle.x * 0.05 * noise(rest * 18.0 + seed));
    }
    fragment = vec4(tone(light_at(position, n, colour, gloss, soft), position), (slot + 1.0) / 255.0);
}
