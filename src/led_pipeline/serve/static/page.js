// What a page does beyond links and forms. A page arrives column by column and this starts with the first, so listeners
// are on the document, and elements are looked up when something happens.
import { start as startColumns } from "./columns.js";
import { start as startForm } from "./form.js";
import { start as startKeys } from "./keys.js";

startForm();
startColumns();
startKeys();
