/* Macros of APR as functions, which bindgen can wrap. */

static inline apr_bucket *slot_first_bucket(apr_bucket_brigade *brigade)
{
    return APR_BRIGADE_FIRST(brigade);
}

static inline apr_bucket *slot_next_bucket(apr_bucket *bucket)
{
    return APR_BUCKET_NEXT(bucket);
}

/* Whether this is no bucket, but the end of the brigade. */
static inline int slot_is_sentinel(apr_bucket_brigade *brigade, apr_bucket *bucket)
{
    return bucket == APR_BRIGADE_SENTINEL(brigade);
}

/* Whether the bucket ends the request. */
static inline int slot_is_end_of_request(apr_bucket *bucket)
{
    return AP_BUCKET_IS_EOR(bucket);
}

/* Whether the bucket stands for an open file. */
static inline int slot_is_file(apr_bucket *bucket)
{
    return APR_BUCKET_IS_FILE(bucket) || APR_BUCKET_IS_MMAP(bucket);
}
