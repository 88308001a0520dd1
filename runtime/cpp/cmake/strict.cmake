# What every target of ours is compiled with.
function(hcflow_strict target)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
        $<$<BOOL:${HCFLOW_WERROR}>:-Werror>
        # Latents and alpha are defined by single roundings (docs/latents.md).
        -ffp-contract=off -fno-fast-math)
    if(HCFLOW_SANITIZE)
        # GCC's own false alarms about the standard library's insides, once it instruments them.
        target_compile_options(${target} PRIVATE
            $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
        target_compile_options(${target} PUBLIC
            -fsanitize=${HCFLOW_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
        target_link_options(${target} PUBLIC -fsanitize=${HCFLOW_SANITIZE})
    endif()
endfunction()
