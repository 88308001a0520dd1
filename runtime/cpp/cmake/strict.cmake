# Compiler options of every target.
function(hcflow_strict target)
    if(MSVC)
        target_compile_options(${target} PRIVATE /W4 /utf-8 /fp:precise
            $<$<BOOL:${HCFLOW_WERROR}>:/WX>)
        target_compile_definitions(${target} PRIVATE NOMINMAX WIN32_LEAN_AND_MEAN)
        return()
    endif()
    if(WIN32)  # std::min and std::max must not be macros
        target_compile_definitions(${target} PRIVATE NOMINMAX WIN32_LEAN_AND_MEAN)
    endif()
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
        $<$<BOOL:${HCFLOW_WERROR}>:-Werror>
        # Latents and alpha need a rounding after each operation (docs/latents.md).
        -ffp-contract=off -fno-fast-math)
    if(HCFLOW_SANITIZE)
        # With sanitizers GCC warns falsely about the standard library.
        target_compile_options(${target} PRIVATE
            $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
        target_compile_options(${target} PUBLIC
            -fsanitize=${HCFLOW_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
        target_link_options(${target} PUBLIC -fsanitize=${HCFLOW_SANITIZE})
    endif()
endfunction()
